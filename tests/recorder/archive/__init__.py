"""Tests of recorder/archive: files, documents, faults and crashes."""
