package controllers

import (
	"fmt"
	"strings"

	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/condition"
)

func waitingFor(text string, sick []apply.Sick) string {
	return condition.Shorten(text + listSome(sick, func(s apply.Sick) string { return s.ID.String() + ": " + s.Note }))
}

func named(members []apply.Member) string { return listSome(members, apply.Member.String) }

// listSome names as many of all as a message takes.
func listSome[T any](all []T, name func(T) string) string {
	names := make([]string, 0, maxWaiting)
	for _, one := range all[:min(len(all), maxWaiting)] {
		names = append(names, name(one))
	}
	text := strings.Join(names, "; ")
	if more := len(all) - maxWaiting; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
