"""Tests of recorder/archive: files, documents, errors and crashes."""
