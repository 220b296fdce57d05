"""Documents of a run have the fields that their index template maps, no more and no less."""

from es_ingest import templates
from training import index
from training.gate import Verdict
from training.train import Trained


def test_documents_have_exactly_the_mapped_fields(trained: Trained) -> None:
    mapped = next(each for each in templates.ALL if each.pattern == index.INDEX).properties
    documents = list(index.documents(trained, Verdict((), ())))
    for document in documents:
        assert document.keys() - {"_index", "_id"} == mapped.keys()
    assert len({document["_id"] for document in documents}) == len(trained.points)
    assert [document["model"] for document in documents if document["went_live"]] == [trained.champion]
