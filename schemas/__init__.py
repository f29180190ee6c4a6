"""The records that stages exchange and datasets publish. Arrow and JSON schemas are derived from their classes."""
