package source

import "testing"

func TestRepositoryKey(t *testing.T) {
	const want = "git.example.org/team/app"
	for _, raw := range []string{
		"https://git.example.org/team/app", "https://git.example.org/team/app.git", "https://git.example.org/team/app/",
		"http://Git.Example.org:8080/Team/App.git/", "ssh://git@git.example.org/team/app.git", "ssh://git.example.org:2222/team/app",
		"git@git.example.org:team/app.git", "git.example.org:/team/app", "git://git.example.org./team/app",
		"https://token@git.example.org/team/app.git",
	} {
		if got := RepositoryKey(raw); got != want {
			t.Errorf("RepositoryKey(%q) = %q, want %q", raw, got, want)
		}
	}
	for _, raw := range []string{"", "team/app", "https://git.example.org", "https://git.example.org/", "https://git.example.org/.git", "git@git.example.org:", "https://[::1/x", "./a:b"} {
		if got := RepositoryKey(raw); got != "" {
			t.Errorf("RepositoryKey(%q) = %q, want none", raw, got)
		}
	}
	if RepositoryKey("https://a.example/x") == RepositoryKey("https://b.example/x") {
		t.Error("two hosts have one key")
	}
}
