# The policy's own tests: each says one sentence of the default policy. `opa test` and the gate's suite both run them.
package kiops.gate_test

import rego.v1

import data.kiops.gate

fresh := {
	"state": "completed", "reason": "", "age_seconds": 600, "data_age_seconds": null, "data_date": null,
	"counts": {}, "findings": [], "unlisted": {},
}

document(kind, changed) := {
	"now": "2026-11-21T06:33:20Z", "purpose": "deploy", "served_before": false, "tested": true, "waited_seconds": 601,
	"subject": {"service_name": "shop-api", "commit": "4be07d2f9a1c3e5b"},
	"environment": {"name": "live", "kind": kind},
	"areas": object.union({a: fresh | some a in gate.areas}, changed),
}

rollback(kind, changed) := object.union(document(kind, changed), {"purpose": "rollback", "served_before": true})

secret := {"id": "s1", "rule": "key", "severity": "high", "title": "A key", "path": "a.env", "line": 1, "commit": "", "triage": ""}

package_finding(severity, fix) := {
	"id": "p1", "rule": "CVE-1", "severity": severity, "title": "", "package": "zlib", "installed": "1.2", "fix": fix, "triage": "",
}

test_clean_passes if {
	some_doc := document("production", {})
	d := gate.decision with input as some_doc
	d.verdict == "pass"
	count(d.areas) == 8
	d.reasons == []
}

test_a_secret_blocks_everywhere if {
	some_doc := document("not_production", {"secrets": {"findings": [secret]}})
	d := gate.decision with input as some_doc
	d.verdict == "block"
	d.reasons[0].rule == "secrets.none"
	d.reasons[0].finding == "s1"
	d.ways == ["Revoke the key and take it out of the history"]
}

test_a_triaged_secret_passes if {
	some_doc := document("production", {"secrets": {"findings": [object.union(secret, {"triage": "revoked"})]}})
	d := gate.decision with input as some_doc
	d.verdict == "pass"
}

test_an_unknown_triage_does_not_close if {
	some_doc := document("production", {"secrets": {"findings": [object.union(secret, {"triage": "later"})]}})
	d := gate.decision with input as some_doc
	d.verdict == "block"
}

test_high_with_a_fix_blocks_in_production_only if {
	changed := {"sca": {"findings": [package_finding("high", "1.3")]}}
	strict_doc := document("production", changed)
	mild_doc := document("not_production", changed)
	strict := gate.decision with input as strict_doc
	mild := gate.decision with input as mild_doc
	strict.verdict == "block"
	mild.verdict == "warn"
}

test_critical_without_a_fix_warns if {
	some_doc := document("production", {"image": {"findings": [package_finding("critical", "")]}})
	d := gate.decision with input as some_doc
	d.verdict == "warn"
	d.reasons[0].rule == "image.critical"
}

test_missing_blocks_in_production if {
	some_doc := document("production", {"license": {"state": "missing"}})
	d := gate.decision with input as some_doc
	d.verdict == "block"
	d.reasons[0].rule == "license.evidence"
}

test_missing_dast_only_warns if {
	some_doc := document("production", {"dast": {"state": "missing"}})
	d := gate.decision with input as some_doc
	d.verdict == "warn"
}

test_dast_before_the_first_test_deploy_is_not_applicable if {
	some_doc := object.union(document("production", {"dast": {"state": "missing"}}), {"tested": false})
	d := gate.decision with input as some_doc
	d.verdict == "pass"
}

test_stale_warns_then_blocks_in_production if {
	nine := document("production", {"sca": {"age_seconds": 9 * 86400}})
	forty := document("production", {"sca": {"age_seconds": 40 * 86400}})
	first := gate.decision with input as nine
	second := gate.decision with input as forty
	first.verdict == "warn"
	second.verdict == "block"
}

test_exactly_seven_days_is_fresh if {
	some_doc := document("production", {"sca": {"age_seconds": 7 * 86400}})
	d := gate.decision with input as some_doc
	d.verdict == "pass"
}

test_partial_is_judged_and_blocks_in_production if {
	some_doc := document("production", {"sca": {"state": "partial", "findings": [package_finding("critical", "2")]}})
	d := gate.decision with input as some_doc
	[r.rule | some r in d.reasons] == ["sca.critical_with_fix", "sca.coverage"]
}

test_a_running_area_is_waited_for if {
	some_doc := object.union(document("production", {"image": {"state": "running"}}), {"waited_seconds": 10})
	d := gate.decision with input as some_doc
	d.waits_for == ["image"]
}

test_a_rollback_is_never_locked_out if {
	some_doc := rollback("production", {
		"sca": {"findings": [package_finding("critical", "2")]}, "sast": {"state": "missing"},
		"iac": {"state": "failed"}, "image": {"age_seconds": 400 * 86400},
	})
	d := gate.decision with input as some_doc
	d.verdict == "warn"
}

test_a_rollback_to_what_never_served_is_judged_by_its_findings if {
	some_doc := object.union(rollback("production", {"secrets": {"findings": [secret]}}), {"served_before": false})
	d := gate.decision with input as some_doc
	d.verdict == "block"
}

test_a_rule_names_five_and_counts_the_rest if {
	many := [object.union(secret, {"id": sprintf("s%d", [n])}) | some n in numbers.range(1, 9)]
	some_doc := document("production", {"secrets": {"findings": many}})
	d := gate.decision with input as some_doc
	count(d.reasons) == 6
	d.reasons[5].text == "and 4 more of the same rule"
}
