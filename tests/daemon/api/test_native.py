"""Health, metrics, status, load and unload."""

from __future__ import annotations

from urllib.parse import quote

from live import LiveDaemon
from prometheus_client.parser import text_string_to_metric_families


def test_health_answers_get_and_head(daemon: LiveDaemon) -> None:
    with daemon.http() as http:
        assert http.get("/health").json() == {"status": "ok"}
        assert http.head("/health").status_code == 200


def test_the_version_is_the_packages(daemon: LiveDaemon) -> None:
    with daemon.http() as http:
        said = http.get("/version").json()
        assert said == {"version": http.get("/api/version").json()["fastmlx"]}


def test_status_has_what_scripts_rely_on(daemon: LiveDaemon) -> None:
    status = daemon.status()
    assert status["pid"] == daemon.pid
    assert status["url"] == daemon.url
    assert status["version"]
    assert status["config"]["ok"] is True
    assert status["config"]["error"] is None
    assert status["config"]["path"] == str(daemon.config_file)
    for model in status["models"]:
        assert {
            "name",
            "state",
            "pid",
            "memory_bytes",
            "requests_running",
            "requests_waiting",
            "idle_s",
            "restarts",
            "error",
        } <= set(model)


def test_a_model_is_loaded_and_unloaded_on_demand(daemon: LiveDaemon) -> None:
    with daemon.http() as http:
        loaded = http.post("/api/models/other/load").json()
        assert loaded["state"] == "ready"
        assert loaded["pid"]
        unloaded = http.post("/api/models/other/unload").json()
        assert (unloaded["state"], unloaded["pid"]) == ("stopped", None)
        assert http.post("/api/models/tiny-alias/load").json()["name"] == "tiny"
        missing = http.post(f"/api/models/{quote('org/nobody', safe='')}/load")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"
        assert http.get("/api/models/other/load").status_code == 405


def test_metrics_count_requests_and_tokens(daemon: LiveDaemon) -> None:
    def figures() -> dict[tuple[str, str], float]:
        with daemon.http() as http:
            text = http.get("/metrics").text
        return {
            (sample.name, sample.labels.get("model", "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("dialect", "openai_completions") == "openai_completions"
        }

    with daemon.http() as http:
        body = {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 4, "ignore_eos": True}
        assert http.post("/v1/completions", json=body).status_code == 200
        before = figures()
        assert http.post("/v1/completions", json=body).status_code == 200
        assert http.post("/v1/completions", json=body | {"model": "nobody"}).status_code == 404
        unfit = body | {"model": "nobody", "temperature": -1}
        assert http.post("/v1/completions", json=unfit).status_code == 400
    after = figures()

    def grew(name: str, model: str = "tiny") -> float:
        return after[name, model] - before.get((name, model), 0)

    assert grew("fastmlx_prompt_tokens_total") == 3
    assert grew("fastmlx_output_tokens_total") == 4
    assert grew("fastmlx_time_to_first_token_seconds_count") == 1
    assert grew("fastmlx_request_duration_seconds_count") == 1
    assert grew("fastmlx_request_duration_seconds_count", "") == 2
    assert after["fastmlx_requests_running", "tiny"] == 0
    assert not any(model == "nobody" for _, model in after)


def test_the_root_leads_to_the_dashboard(daemon: LiveDaemon) -> None:
    with daemon.http() as http:
        response = http.get("/")
    assert response.status_code == 302
    assert response.headers["location"] == "/admin/"
