"""What people see in Kibana, declared in Python: boards and data views, their file, their import and their proof."""
