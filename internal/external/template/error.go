package template

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Error says where a template fails, and why. It quotes the template's own text
// only, and nothing of a Private one.
type Error struct {
	// Template is the name of the template.
	Template string
	// Line and Column count from 1, columns in bytes; 0 is not known.
	Line, Column int
	// Function is the one that failed, "" if none did.
	Function string
	// Problem is why; it may be empty for a function.
	Problem string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("template %q", e.Template)
	if e.Line > 0 {
		text += fmt.Sprintf(", line %d", e.Line)
	}
	if e.Column > 0 {
		text += fmt.Sprintf(", column %d", e.Column)
	}
	if e.Function != "" {
		text += ": function " + e.Function + " fails"
	}
	if e.Problem != "" {
		text += ": " + e.Problem
	}
	return text
}

// refusal is a reason that quotes nothing.
type refusal string

func (r refusal) Error() string { return string(r) }

// callError is what a function returns to text/template, which puts more text
// around it, with arguments in it. explain takes it out again.
type callError struct {
	function string
	problem  string
}

func (e *callError) Error() string { return "fails" }

// guardFunction is the function of a callError that a guard returns.
const guardFunction = ""

// failed makes a callError of what a function returned or panicked with, whose
// text may quote its arguments.
func failed(function string, err error) error {
	var reason refusal
	if errors.As(err, &reason) {
		return &callError{function, string(reason)}
	}
	return &callError{function, ""}
}

// place is what stands somewhere in a template.
type place struct {
	function string // whose name or argument it is
	field    string // such as a.b for .a.b
}

// located finds the place in the text of errors of text/template, whose own
// types do not have it. Templates are parsed under the name t.
var located = regexp.MustCompile(`^template: t:(\d+):(\d+): `)

// noEntry is what text/template says of a key that a dictionary lacks. Nothing
// else tells; a value that has this text in it makes us say so, too.
const noEntry = ">: map has no entry for key "

// explain makes an Error of one of text/template's.
func (p *parsed) explain(ctx context.Context, err error, data map[string]string) error {
	if parent := ctx.Err(); parent != nil && errors.Is(parent, context.Canceled) {
		return parent
	}
	e := &Error{Template: p.template.Name, Problem: "it cannot be evaluated"}
	if errors.Is(err, errOutput) {
		e.Problem = fmt.Sprintf("its result has more than %d bytes", maxOutput)
		return e
	}
	var at place
	if match := located.FindStringSubmatch(err.Error()); match != nil {
		e.Line, _ = strconv.Atoi(match[1])
		e.Column, _ = strconv.Atoi(match[2])
		at = p.places[[2]int{e.Line, e.Column}]
		e.Column++
	}
	_, there := data[at.field]
	var call *callError
	switch {
	case errors.As(err, &call):
		e.Function, e.Problem = call.function, call.problem
	case at.field != "" && !there && p.template.Private:
		e.Problem = "there is no such value"
	case at.field != "" && !there:
		e.Problem = fmt.Sprintf("there is no value %q", at.field)
	case strings.Contains(err.Error(), noEntry):
		e.Problem = "it asks for a key that is not there"
	case at.function != "":
		e.Function, e.Problem = at.function, "it cannot take this argument"
	}
	return e
}

// unparsable makes an Error of one of the parser's, which are words followed by
// what they quote.
func unparsable(t Template, err error) error {
	e := &Error{Template: t.Name, Problem: "it is not a template"}
	rest := strings.TrimPrefix(err.Error(), "template: "+t.Name+":")
	line, problem, found := strings.Cut(rest, ": ")
	if !found {
		return e
	}
	e.Line, _ = strconv.Atoi(line)
	end := strings.IndexFunc(problem, func(r rune) bool { return r != ' ' && (r < 'a' || r > 'z') })
	if end >= 0 {
		problem = problem[:end]
	}
	if problem = strings.TrimSpace(problem); problem != "" {
		e.Problem += ": " + problem
	}
	return e
}
