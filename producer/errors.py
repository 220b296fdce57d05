"""What can go wrong in the producer, named for what is wrong.

ProducerError
├── UnreadableFile      the file is missing, damaged or of a kind that is not read
├── MissingColumns      the file lacks columns that its format needs
├── RefusedFile         a cell is missing that a rule declares indispensable
├── BadRule             a rule names no column, or asks for what the column cannot give
├── NoTimes             there is no time in the file to shift by
├── NobodyLeft          every simulated customer has left, so nobody can act live
├── KafkaUnreachable    no broker answered
├── TopicMissing        the topic was not created
└── PublishFailed       Kafka did not take a message
"""


class ProducerError(Exception):
    """A fault that ends the command with its message and exit code 1."""


class UnreadableFile(ProducerError):
    """The file is missing, damaged or of a kind that is not read."""


class MissingColumns(ProducerError):
    """The file lacks columns that its format needs."""


class RefusedFile(ProducerError):
    """A cell is missing that a rule declares indispensable."""


class BadRule(ProducerError):
    """A rule names no column, or asks for what the column cannot give."""


class NoTimes(ProducerError):
    """There is no time in the file to shift by."""


class NobodyLeft(ProducerError):
    """Every simulated customer has left, so nobody can act live."""


class KafkaUnreachable(ProducerError):
    """No broker answered."""


class TopicMissing(ProducerError):
    """The topic was not created."""


class PublishFailed(ProducerError):
    """Kafka did not take a message; `acknowledged` messages of this run are surely there."""

    def __init__(self, topic: str, acknowledged: int, cause: object) -> None:
        super().__init__(
            f"Kafka did not take a message for topic {topic}: {cause}; "
            f"{acknowledged:,} messages of this run are acknowledged"
        )
        self.acknowledged = acknowledged
