package external

import (
	"regexp"
	"strconv"
)

// rewrite is one step of a chain; one of its fields is set.
type rewrite struct {
	path      string
	regexp    *regexp.Regexp
	target    string // of regexp
	transform string
	merge     *merge
}

// merge takes the values for JSON objects and makes one of them.
type merge struct {
	json           bool   // strategy JSON
	into           string // the key, with strategy JSON
	priority       []string
	ignoreNotFound bool // priorityPolicy IgnoreNotFound
	ignoreConflict bool // conflictPolicy Ignore
}

func readRewrite(n *node) rewrite {
	r := rewrite{path: n.path}
	set := 0
	if re := n.child("regexp"); re != nil {
		set++
		r.target = re.text("target")
		var err error
		if r.regexp, err = regexp.Compile(re.required("source")); err != nil {
			n.problem(re.at("source"), "see https://github.com/google/re2/wiki/Syntax", "is no regular expression")
		}
		re.done()
	}
	if transform := n.child("transform"); transform != nil {
		set++
		r.transform = transform.required("template")
		transform.done()
	}
	if m := n.child("merge"); m != nil {
		set++
		r.merge = readMerge(m)
	}
	if set != 1 {
		n.problem(n.path, "set exactly one of them, and add another item for each further step", "has %s of regexp, transform and merge", strconv.Itoa(set))
	}
	n.done()
	return r
}

func readMerge(n *node) *merge {
	m := &merge{
		into: n.text("into"), priority: n.texts("priority"),
		json:           n.enum("strategy", "Extract", "JSON") == "JSON",
		ignoreNotFound: n.enum("priorityPolicy", "Strict", "IgnoreNotFound") == "IgnoreNotFound",
		ignoreConflict: n.enum("conflictPolicy", "Error", "Ignore") == "Ignore",
	}
	if m.json && m.into == "" {
		n.problem(n.at("into"), "set it to the key that is to hold the result", "is missing, which strategy JSON needs")
	}
	n.done()
	return m
}
