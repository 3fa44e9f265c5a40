package controllers

import (
	"fmt"
	"strings"

	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/condition"
)

func waitingFor(text string, sick []apply.Sick) string {
	names := make([]string, 0, maxWaiting)
	for _, s := range sick[:min(len(sick), maxWaiting)] {
		names = append(names, s.ID.String()+": "+s.Note)
	}
	text += strings.Join(names, "; ")
	if more := len(sick) - maxWaiting; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return condition.Shorten(text)
}

// named lists members, as many as a message takes.
func named(members []apply.Member) string {
	names := make([]string, 0, maxWaiting)
	for _, m := range members[:min(len(members), maxWaiting)] {
		names = append(names, m.String())
	}
	text := strings.Join(names, "; ")
	if more := len(members) - maxWaiting; more > 0 {
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
