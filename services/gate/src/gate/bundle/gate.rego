# METADATA
# title: The default policy
# description: |
#   May this image go to this environment? Eight areas, each judged by the state of its evidence and by its findings.
#   Everything the answer depends on is in `input` (now included) and in `data.gate_config`, so that every decision can
#   be computed again. Only complete rules, functions and comprehensions are used: Rego engines differ in partial rules.
package kiops.gate

import rego.v1

areas := ["secrets", "sca", "image", "sast", "iac", "license", "sbom", "dast"]

labels := {
	"secrets": "Secrets", "sca": "SCA", "image": "Image", "sast": "SAST",
	"iac": "IaC", "license": "License", "sbom": "SBOM", "dast": "DAST",
}

severities := ["critical", "high", "medium", "low", "info"]

severity_labels := {"critical": "Critical", "high": "High", "medium": "Medium", "low": "Low", "info": "Info"}

effects := ["block", "warn", "pass"]

day := 86400

# A kind we do not know is judged as production: the stricter of the two.
default production := true

production := false if input.environment.kind == "not_production"

# A rollback returns to what was allowed here before, so no gap in the evidence and no newer rule may lock the way back.
default way_back := false

way_back if input.purpose == "rollback"

default known_release := false

known_release if {
	way_back
	input.served_before == true
}

evidence := {a: e |
	some a in areas
	e := object.get(input.areas, a, {"state": "missing"})
}

default tested := false

tested := input.tested

default waited_seconds := 0

waited_seconds := input.waited_seconds

# ---- the state of the evidence ------------------------------------------------------------------------------------

state_of(a) := "not_applicable" if {
	a == "dast"
	evidence[a].state == "missing"
	tested == false
} else := "stale" if {
	evidence[a].state == "completed"
	age_of(a) > data.gate_config.stale_days * day
} else := "fresh" if {
	evidence[a].state == "completed"
} else := evidence[a].state if {
	evidence[a].state in {"partial", "no_data", "not_applicable", "failed", "running"}
} else := "missing"

states := {a: state_of(a) | some a in areas}

ages(a) := [s |
	some k in ["age_seconds", "data_age_seconds"]
	s := object.get(evidence[a], k, null)
	is_number(s)
]

# The older of the scan and its data, in seconds. An age that nobody knows counts as too old.
age_of(a) := max(ages(a)) if {
	count(ages(a)) > 0
} else := (data.gate_config.stale_block_days * day) + 1

days_of(a) := floor(age_of(a) / day)

old(a) if {
	states[a] in {"stale", "partial"}
	age_of(a) > data.gate_config.stale_days * day
}

data_is_older(a) if {
	is_number(object.get(evidence[a], "data_age_seconds", null))
	evidence[a].data_age_seconds >= object.get(evidence[a], "age_seconds", 0)
}

waits_for := [a |
	some a in areas
	states[a] == "running"
	waited_seconds < data.gate_config.wait_seconds
]

gap_effect(a, kind) := "warn" if {
	way_back
} else := "warn" if {
	a == "dast"
	kind in {"missing", "running", "no_data"}
} else := "block" if {
	production
} else := "warn"

age_effect(a) := "warn" if {
	way_back
} else := "warn" if {
	a == "dast"
} else := "block" if {
	production
	age_of(a) > data.gate_config.stale_block_days * day
} else := "warn"

said(a, otherwise) := r if {
	r := object.get(evidence[a], "reason", "")
	r != ""
} else := otherwise

gap(a) := {
	"rule": sprintf("%s.evidence", [a]), "effect": gap_effect(a, "missing"),
	"text": said(a, "nothing was reported"),
	"say": sprintf("nothing was reported for %s", [labels[a]]),
	"pass_by": sprintf("Start the %s scan again", [labels[a]]),
} if {
	states[a] == "missing"
}

gap(a) := {
	"rule": sprintf("%s.evidence", [a]), "effect": gap_effect(a, "running"),
	"text": sprintf("still running after %d min, so it counts as missing", [floor(waited_seconds / 60)]),
	"say": sprintf("%s was still running after %d min", [labels[a], floor(waited_seconds / 60)]),
	"pass_by": sprintf("Let the %s scan end and ask again", [labels[a]]),
} if {
	states[a] == "running"
}

gap(a) := {
	"rule": sprintf("%s.data", [a]), "effect": gap_effect(a, "no_data"),
	"text": said(a, "no vulnerability data, so nothing can be called clean"),
	"say": sprintf("there is no vulnerability data for %s", [labels[a]]),
	"pass_by": "Bring vulnerability data with `kiops data import` and scan again",
} if {
	states[a] == "no_data"
}

gap(a) := {
	"rule": sprintf("%s.run", [a]), "effect": gap_effect(a, "failed"),
	"text": said(a, "the scan failed"),
	"say": sprintf("the %s scan failed", [labels[a]]),
	"pass_by": sprintf("Start the %s scan again", [labels[a]]),
} if {
	states[a] == "failed"
}

gap(a) := {
	"rule": sprintf("%s.coverage", [a]), "effect": gap_effect(a, "partial"),
	"text": said(a, "only a part was read"),
	"say": sprintf("%s was read only in part", [labels[a]]),
	"pass_by": sprintf("Let the %s scan read everything", [labels[a]]),
} if {
	states[a] == "partial"
}

component_gap(a) := {
	"rule": "sbom.components", "effect": gap_effect(a, "missing"),
	"text": "components are banned, and the list of components cannot be read",
	"say": "the list of components cannot be read",
	"pass_by": "Start the SBOM scan again",
} if {
	a == "sbom"
	states[a] in judged_states
	count(data.gate_config.banned_components) > 0
	not is_array(object.get(evidence[a], "components", null))
}

age_gap(a) := {
	"rule": sprintf("%s.age", [a]), "effect": age_effect(a),
	"text": sprintf("data of %s is %d days old; %d are allowed", [
		object.get(evidence[a], "data_date", "an unknown day"), days_of(a), data.gate_config.stale_days,
	]),
	"say": sprintf("the data of %s is %d days old", [labels[a], days_of(a)]),
	"pass_by": "Renew the vulnerability data and scan again",
} if {
	old(a)
	data_is_older(a)
}

age_gap(a) := {
	"rule": sprintf("%s.age", [a]), "effect": age_effect(a),
	"text": sprintf("the result is %d days old; %d are allowed", [days_of(a), data.gate_config.stale_days]),
	"say": sprintf("the evidence of %s is %d days old", [labels[a], days_of(a)]),
	"pass_by": sprintf("Start the %s scan again", [labels[a]]),
} if {
	old(a)
	not data_is_older(a)
}

gaps := [r |
	some i, a in areas
	some found in array.concat([g | g := gap(a)], array.concat([g | g := component_gap(a)], [g | g := age_gap(a)]))
	r := object.union(found, {"area": a, "finding": "", "at": [i, 9, 0]})
]

# ---- the findings --------------------------------------------------------------------------------------------------

is_open(f) if not object.get(f, "triage", "") in data.gate_config.closed_triage

judged_states := {"fresh", "stale", "partial", "no_data"}

open := {a: fs |
	some a in areas
	fs := [f |
		states[a] in judged_states
		some f in array.concat(object.get(evidence[a], "findings", []), components_as_findings(a))
		is_open(f)
	]
}

# Only what is banned becomes a finding: a component in itself is none.
components_as_findings(a) := [f |
	some c in evidence[a].components
	f := {"id": c.purl, "severity": "high", "package": c.name, "installed": c.version}
	banned(f)
] if {
	a == "sbom"
	is_array(object.get(evidence[a], "components", null))
} else := []

# A severity we do not know counts as the worst.
severity_of(f) := f.severity if {
	f.severity in severities
} else := "critical"

has_fix(f) if object.get(f, "fix", "") != ""

sure(f) if object.get(f, "confidence", "high") == "high"

lower_set(xs) := {lower(x) | some x in xs}

# "GPL-3.0-only OR MIT" is denied only when every alternative is.
denied(f) if {
	no := lower_set(data.gate_config.denied_licences)
	choices := split(lower(object.get(f, "licence", "")), " or ")
	every choice in choices {
		parts := {trim(p, " ()") | some p in split(choice, " and ")}
		count(parts & no) > 0
	}
}

unknown_licence(f) if lower(object.get(f, "licence", "")) in {"", "unknown", "noassertion", "none"}

banned(f) if {
	lower(object.get(f, "package", "")) in lower_set(data.gate_config.banned_components)
}

judge("secrets", _) := ["none", "block"]

judge(a, f) := ["critical_with_fix", "block"] if {
	a in {"sca", "image"}
	severity_of(f) == "critical"
	has_fix(f)
}

judge(a, f) := ["high_with_fix", high_effect] if {
	a in {"sca", "image"}
	severity_of(f) == "high"
	has_fix(f)
}

judge(a, f) := [severity_of(f), "warn"] if {
	a in {"sca", "image"}
	severity_of(f) in {"critical", "high"}
	not has_fix(f)
}

judge("sast", f) := ["critical", "block"] if {
	severity_of(f) == "critical"
	sure(f)
}

judge("sast", f) := ["high", high_effect] if {
	severity_of(f) == "high"
	sure(f)
}

judge("sast", f) := [sprintf("%s_unsure", [severity_of(f)]), "warn"] if {
	severity_of(f) in {"critical", "high"}
	not sure(f)
}

judge("sast", f) := ["medium", "warn"] if severity_of(f) == "medium"

judge(a, f) := ["critical", "block"] if {
	a in {"iac", "dast"}
	severity_of(f) == "critical"
}

judge(a, f) := ["high", "warn"] if {
	a in {"iac", "dast"}
	severity_of(f) == "high"
}

judge("license", f) := ["denied", "block"] if denied(f)

judge("license", f) := ["unknown", "warn"] if {
	unknown_licence(f)
	not denied(f)
}

judge("sbom", f) := ["banned", "block"] if banned(f)

high_effect := "block" if {
	production
} else := "warn"

# What was allowed here before is not locked out by what became known since: it warns.
finding_effect(effect) := "warn" if {
	known_release
} else := effect

line_of(f) := sprintf(":%d", [f.line]) if {
	is_number(object.get(f, "line", null))
} else := ""

place(f) := sprintf(" in %s%s", [f.path, line_of(f)]) if {
	object.get(f, "path", "") != ""
} else := ""

since(f) := sprintf(", in the history since %s", [substring(f.commit, 0, 7)]) if {
	object.get(f, "commit", "") != ""
} else := ""

package_of(f) := trim(sprintf("%s %s", [f.package, object.get(f, "installed", "")]), " ") if {
	object.get(f, "package", "") != ""
} else := "the image"

mended(f) := sprintf("fixed in %s", [f.fix]) if {
	has_fix(f)
} else := "no fix yet"

tell("secrets", f) := {
	"text": sprintf("%s%s%s", [f.title, place(f), since(f)]),
	"say": secrets_say,
	"pass_by": "Revoke the key and take it out of the history",
}

tell(a, f) := {
	"text": sprintf("%s (%s) in %s, %s", [f.rule, severity_labels[severity_of(f)], package_of(f), mended(f)]),
	"say": sprintf("%s has a %s, %s", [package_of(f), severity_labels[severity_of(f)], mended(f)]),
	"pass_by": raise_by(f),
} if {
	a in {"sca", "image"}
	object.get(f, "package", "") != ""
}

tell(a, f) := {
	"text": sprintf("%s (%s)%s", [f.title, severity_labels[severity_of(f)], place(f)]),
	"say": sprintf("%s%s", [f.title, place(f)]),
	"pass_by": mend_by(f),
} if {
	a in {"sca", "image"}
	object.get(f, "package", "") == ""
}

tell(a, f) := {
	"text": sprintf("%s (%s)%s", [f.title, severity_labels[severity_of(f)], place(f)]),
	"say": sprintf("%s%s", [f.title, place(f)]),
	"pass_by": mend_by(f),
} if {
	a in {"sast", "iac", "dast"}
}

tell("license", f) := {
	"text": sprintf("%s of %s is denied by the organisation", [f.licence, package_of(f)]),
	"say": sprintf("the licence %s of %s is denied", [f.licence, package_of(f)]),
	"pass_by": sprintf("Replace %s", [package_of(f)]),
} if {
	denied(f)
}

tell("license", f) := {
	"text": sprintf("the licence of %s is not known", [package_of(f)]),
	"say": sprintf("the licence of %s is not known", [package_of(f)]),
	"pass_by": sprintf("Name the licence of %s", [package_of(f)]),
} if {
	not denied(f)
}

tell("sbom", f) := {
	"text": sprintf("%s is banned by the organisation", [package_of(f)]),
	"say": sprintf("%s is banned by the organisation", [package_of(f)]),
	"pass_by": sprintf("Take %s out", [package_of(f)]),
}

# A finding that lacks what its sentence needs is still a finding.
told(a, f) := t if {
	t := tell(a, f)
} else := {
	"text": sprintf("a finding of %s without a description", [labels[a]]),
	"say": sprintf("%s has a finding without a description", [labels[a]]),
	"pass_by": sprintf("Look at the findings of %s", [labels[a]]),
}

raise_by(f) := sprintf("Raise %s to %s", [f.package, f.fix]) if {
	has_fix(f)
} else := sprintf("Replace %s, or wait for its fix", [f.package])

mend_by(f) := sprintf("Mend %s%s", [f.path, line_of(f)]) if {
	object.get(f, "path", "") != ""
} else := sprintf("Mend %s", [f.title])

secrets_say := "a secret is in the history" if {
	count(open.secrets) == 1
} else := sprintf("%d secrets are in the history", [count(open.secrets)])

judged := {a: rows |
	some i, a in areas
	rows := [row |
		some n, f in open[a]
		j := judge(a, f)
		row := object.union(told(a, f), {
			"area": a, "rule": sprintf("%s.%s", [a, j[0]]), "effect": finding_effect(j[1]),
			"finding": object.get(f, "id", ""), "at": [i, severity_rank(severity_of(f)), n],
		})
	]
}

severity_rank(s) := [n | some n, x in severities; x == s][0]

# A rule names its first findings one by one, and counts the rest: a verdict is read by people and sent in one message.
named := 5

listed := [r |
	some a in areas
	some rule in {row.rule | some row in judged[a]}
	rows := [row | some row in judged[a]; row.rule == rule]
	some r in array.concat(array.slice(rows, 0, named), more(rows))
]

more(rows) := [object.union(rows[named], {
	"finding": "",
	"text": sprintf("and %d more of the same rule", [count(rows) - named]),
	"pass_by": sprintf("Do the same for %d more of %s", [count(rows) - named, rows[named].rule]),
})] if {
	count(rows) > named
} else := []

judge_unlisted(a, s) := ["denied", "block"] if {
	a == "license"
	count(data.gate_config.denied_licences) > 0
} else := ["banned", "block"] if {
	a == "sbom"
	count(data.gate_config.banned_components) > 0
} else := j if {
	j := judge(a, {"severity": s, "fix": "?", "confidence": "high"})
}

# Findings that were counted but did not come along are taken for the worst of their severity.
unlisted := [r |
	some i, a in areas
	states[a] in judged_states
	some s, n in object.get(evidence[a], "unlisted", {})
	n > 0
	j := judge_unlisted(a, s)
	r := {
		"area": a, "rule": sprintf("%s.%s", [a, j[0]]), "effect": finding_effect(j[1]), "finding": "",
		"at": [i, severity_rank(severity_of({"severity": s})), 100000],
		"text": sprintf("%d %s more were counted and not listed; they are taken for the worst", [n, s]),
		"say": sprintf("%d findings of %s were counted and not listed", [n, labels[a]]),
		"pass_by": sprintf("Mend the listed findings of %s first", [labels[a]]),
	}
]

# ---- the verdict ---------------------------------------------------------------------------------------------------

effect_rank(e) := [n | some n, x in effects; x == e][0]

all_reasons := array.concat(array.concat(gaps, listed), unlisted)

# Sorted by numbers alone, so that every engine gives the same order.
ordered := [all_reasons[k[4]] |
	some k in sort([[effect_rank(r.effect), r.at[0], r.at[1], r.at[2], n] | some n, r in all_reasons])
]

of_area(a) := [r | some r in ordered; r.area == a]

verdict_of(a) := of_area(a)[0].effect if {
	count(of_area(a)) > 0
} else := "pass" if {
	states[a] in {"fresh", "not_applicable"}
} else := "block"

area_verdicts := {a: verdict_of(a) | some a in areas}

blocking := [a | some a in areas; area_verdicts[a] == "block"]

warning := [a | some a in areas; area_verdicts[a] == "warn"]

verdict := "block" if {
	count(blocking) > 0
} else := "warn" if {
	count(warning) > 0
} else := "pass"

threshold("secrets") := "none in the history"

threshold(a) := sprintf("data of %d days; no Critical or High with a fix", [data.gate_config.stale_days]) if {
	a in {"sca", "image"}
	production
}

threshold(a) := sprintf("data of %d days; no Critical with a fix", [data.gate_config.stale_days]) if {
	a in {"sca", "image"}
	not production
}

threshold("sast") := "no sure Critical or High" if production

threshold("sast") := "no sure Critical" if not production

threshold(a) := "no Critical" if a in {"iac", "dast"}

threshold("license") := "no denied licence"

threshold("sbom") := "no banned component"

plural(n, one, many) := sprintf("%d %s", [n, one]) if {
	n == 1
} else := sprintf("%d %s", [n, many])

text_of(a) := sprintf("%s: %s", [of_area(a)[0].rule, of_area(a)[0].text]) if {
	count(of_area(a)) > 0
} else := said(a, not_applicable_text(a)) if {
	states[a] == "not_applicable"
} else := "nothing found" if {
	count(open[a]) == 0
} else := sprintf("%s, none over the limit", [plural(count(open[a]), "finding", "findings")])

not_applicable_text(a) := "no test environment is named for it" if {
	a == "dast"
} else := "nothing here to look at"

area_rows := [row |
	some k in sort([[effect_rank(area_verdicts[a]), i, a] | some i, a in areas])
	a := k[2]
	row := {
		"area": a, "evidence": states[a], "verdict": area_verdicts[a], "text": text_of(a), "threshold": threshold(a),
		"counts": counts_of(a),
	}
]

counts_of(a) := object.get(evidence[a], "counts", {}) if {
	states[a] in judged_states
} else := {}

number_words := ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight"]

subject := sprintf("%s at %s", [input.subject.service_name, substring(input.subject.commit, 0, 7)]) if {
	input.subject.commit != ""
} else := input.subject.service_name

going := "go back to" if {
	way_back
} else := "go to"

target := input.environment.name if {
	input.environment.name != ""
} else := "any environment"

outcome := sprintf("may not %s %s", [going, target]) if {
	verdict == "block"
} else := sprintf("may %s %s with warnings", [going, target]) if {
	verdict == "warn"
} else := sprintf("may %s %s", [going, target])

because := ordered[0].say if {
	count(ordered) > 0
} else := "nothing stands against it"

also_blocking := count(blocking) - 1 if {
	count(blocking) > 1
} else := 0

tail := sprintf(" %s more %s, %s.", [number_words[also_blocking], verb(also_blocking, "block"), warn_words]) if {
	also_blocking > 0
	count(warning) > 0
} else := sprintf(" %s more %s.", [number_words[also_blocking], verb(also_blocking, "block")]) if {
	also_blocking > 0
} else := sprintf(" %s %s.", [number_words[count(warning)], verb(count(warning), "warn")]) if {
	count(warning) > 0
} else := ""

warn_words := sprintf("%s %s", [lower(number_words[count(warning)]), verb(count(warning), "warn")])

verb(n, word) := sprintf("area %ss", [word]) if {
	n == 1
} else := sprintf("areas %s", [word])

sentence := sprintf("%s %s: %s.%s", [subject, outcome, because, tail])

# What would make it pass: first what is enough to be let through, then what would also clear the warnings.
steps(rs) := [rs[n].pass_by |
	some n, r in rs
	count([1 | some m, x in rs; m < n; x.pass_by == r.pass_by]) == 0
]

way(rs) := concat("; ", array.concat(array.slice(steps(rs), 0, 6), rest_of(count(steps(rs)) - 6)))

rest_of(n) := [sprintf("and %d more", [n])] if {
	n > 0
} else := []

blocks := [r | some r in ordered; r.effect == "block"]

ways := [way(blocks), way(ordered)] if {
	verdict == "block"
	count(ordered) > count(blocks)
} else := [way(ordered)] if {
	verdict != "pass"
} else := []

# Until the evidence crosses the next age that the policy knows; at most as long as fresh evidence stays fresh.
holds_seconds := min(array.concat([data.gate_config.stale_days * day], [left |
	some a in areas
	states[a] in {"fresh", "stale", "partial"}
	some limit in [data.gate_config.stale_days * day, data.gate_config.stale_block_days * day]
	left := limit - age_of(a)
	left > 0
]))

decision := {
	"verdict": verdict,
	"sentence": sentence,
	"areas": area_rows,
	"reasons": [{
		"area": r.area, "rule": r.rule, "effect": r.effect, "finding": r.finding, "text": r.text, "pass_by": r.pass_by,
	} |
		some r in ordered
	],
	"ways": ways,
	"waits_for": waits_for,
	"holds_seconds": holds_seconds,
	"policy": data.gate_config.name,
	"version": data.gate_config.version,
}
