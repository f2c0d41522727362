"""What is generated from the code is what is committed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.generate.files import ROOT, differing, generated, with_table
from infra.generate.settings import settings_table
from shared.contracts.errors import BadSetting
from shared.contracts.events import schema_uri
from shared.contracts.topics import Topic

README = "# Title\n\n<!-- settings -->\nold\n<!-- /settings -->\n\nmore\n"


def test_nothing_generated_has_drifted_from_the_code() -> None:
    assert differing(ROOT, generated(ROOT)) == [], "run `python -m infra.generate`"


def test_a_file_that_is_missing_changed_or_left_over_is_named(tmp_path: Path) -> None:
    schemas = Path("shared/contracts/schemas")
    files = {schemas / "a.json": "a", schemas / "b.json": "b", schemas / "c.json": "c"}
    (tmp_path / schemas).mkdir(parents=True)
    (tmp_path / schemas / "a.json").write_text("a")
    (tmp_path / schemas / "b.json").write_text("other")
    (tmp_path / schemas / "of-a-topic-that-is-no-more.json").write_text("{}")
    assert [path.name for path in differing(tmp_path, files)] == [
        "b.json",
        "c.json",
        "of-a-topic-that-is-no-more.json",
    ]


def test_the_readme_gets_the_table_between_its_markers_and_keeps_the_rest() -> None:
    once = with_table(README, "| a |\n")
    assert once == "# Title\n\n<!-- settings -->\n| a |\n<!-- /settings -->\n\nmore\n"
    assert with_table(once, "| a |\n") == once


@pytest.mark.parametrize("readme", ["", "<!-- settings -->\n", README + README])
def test_a_readme_without_one_place_for_the_table_is_told_what_it_needs(readme: str) -> None:
    with pytest.raises(BadSetting, match=r"README\.md: [02] places .* <!-- settings -->"):
        with_table(readme, "")


def test_the_table_says_who_reads_what_and_what_stands_in_the_code() -> None:
    table = settings_table()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    assert rows["KUBEFINOPS_CLUSTER"].startswith("`local` | all |")
    assert "receiver" not in rows["MONGODB_URI"]
    assert rows["S3_BUCKET"].startswith("`kubefinops` | recommender, audit |")
    assert rows["S3_SECRET_KEY"].startswith("`minioadmin` |")
    assert rows["MONGODB_URI"].startswith("`mongodb://localhost:27017` |")
    assert rows["GITHUB_TOKEN"].startswith("none (a secret) |")
    assert rows["KUBEFINOPS_PAUSE"].startswith("`false` |")


def test_each_topic_has_a_schema_under_the_address_that_its_events_name() -> None:
    for topic in Topic:
        schema = json.loads((ROOT / f"shared/contracts/schemas/{topic.value}.v1.json").read_text())
        assert schema["$id"] == schema_uri(topic)
        assert schema["additionalProperties"] is False


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
    references = list(_references(document))
    assert len(references) > 3 * len(Topic)
    for reference in references:
        if reference.startswith("#/"):
            part: Any = document
            for name in reference.removeprefix("#/").split("/"):
                part = part[name]
        else:
            assert (ROOT / "docs" / reference).resolve().is_file()


def test_the_asyncapi_document_has_every_topic_and_its_dead_letters() -> None:
    channels = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())["channels"]
    assert {channel["address"] for channel in channels.values()} == {
        name for topic in Topic for name in (topic.value, topic.dead_letters)
    }


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [found for value in part.values() for found in _references(value)]
    if isinstance(part, list):
        return [found for value in part for found in _references(value)]
    return []
