package controllers

import (
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func TestWhichCommitABranchIsExpectedToHold(t *testing.T) {
	const url = "https://git.example.com/app"
	inStatus := &v1alpha1.SourceStatus{Revision: "main@sha1:old"}
	tests := map[string]struct {
		held     followed
		status   *v1alpha1.SourceStatus
		observed int64
		ref      string
		want     string
	}{
		"the one followed to":                   {followed{url, "main", "new"}, inStatus, 3, "main", "new"},
		"after a restart, the one applied":      {followed{}, inStatus, 3, "main", "old"},
		"after a restart under another spec":    {followed{}, inStatus, 2, "main", ""},
		"nothing was applied yet":               {followed{}, nil, 0, "main", ""},
		"another branch is another history":     {followed{url, "main", "new"}, inStatus, 3, "dev", ""},
		"another repository, too":               {followed{"https://x/y", "main", "new"}, inStatus, 3, "main", ""},
		"a commit that is pinned has no branch": {followed{url, "", "new"}, &v1alpha1.SourceStatus{Revision: "sha1:new"}, 3, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			run := d.begin(d.read(t))
			run.memory.followed, run.app.Status.Source, run.app.Status.ObservedGeneration = tt.held, tt.status, tt.observed
			if got := run.before(tt.ref); got != tt.want {
				t.Errorf("before() = %q, want %q", got, tt.want)
			}
		})
	}
}
