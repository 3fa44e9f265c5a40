package source

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// repo is a bare repository on disk, written with the git program.
type repo struct {
	t   testing.TB
	dir string
}

func newRepo(t testing.TB) repo {
	t.Helper()
	r := repo{t, filepath.Join(t.TempDir(), "repo.git")}
	r.git("", "init", "-q", "--bare", "-b", "main", r.dir)
	r.git("", "-C", r.dir, "config", "http.receivepack", "false")
	return r
}

func (r repo) git(stdin string, args ...string) string {
	r.t.Helper()
	return r.pipe(strings.NewReader(stdin), args...)
}

func (r repo) pipe(stdin io.Reader, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", args...)
	cmd.Stdin = stdin
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

func (r repo) config(key, value string) { r.t.Helper(); r.git("", "-C", r.dir, "config", key, value) }

// file is what to commit at a path; mode is 100644 where empty.
type file struct{ mode, content string }

func text(s string) file { return file{content: s} }

// commit writes a commit with exactly these files to ref and returns it.
func (r repo) commit(ref string, files map[string]file) string {
	r.t.Helper()
	return r.stream(ref, true, func(w io.Writer) {
		fmt.Fprintln(w, "deleteall")
		for name, f := range files {
			r.entry(w, name, f)
		}
	})
}

// amend adds files to what ref has.
func (r repo) amend(ref string, files map[string]file) string {
	r.t.Helper()
	return r.stream(ref, false, func(w io.Writer) {
		for name, f := range files {
			r.entry(w, name, f)
		}
	})
}

func (r repo) entry(w io.Writer, name string, f file) {
	switch f.mode {
	case "":
		f.mode = "100644"
	case "160000":
		fmt.Fprintf(w, "M 160000 %s %s\n", f.content, name)
		return
	}
	fmt.Fprintf(w, "M %s inline %s\ndata %d\n%s\n", f.mode, name, len(f.content), f.content)
}

func (r repo) stream(ref string, orphan bool, body func(io.Writer)) string {
	r.t.Helper()
	in, out := io.Pipe()
	go func() {
		w := bufio.NewWriter(out)
		if orphan {
			fmt.Fprintf(w, "reset %s\n", ref)
		}
		const who = "Ann <ann@example.org> 1700000000 +0000"
		fmt.Fprintf(w, "commit %s\nauthor %s\ncommitter %s\ndata 14\nadd manifests\n\n", ref, who, who)
		if !orphan {
			fmt.Fprintf(w, "from %s^0\n", ref)
		}
		body(w)
		_ = out.CloseWithError(w.Flush())
	}()
	r.pipe(in, "-C", r.dir, "-c", "pack.compression=1", "fast-import", "--quiet", "--force")
	return r.git("", "-C", r.dir, "rev-parse", ref)
}

// backend serves repositories over smart HTTP with git's own program.
type backend struct {
	root  string
	asks  atomic.Int64
	packs atomic.Int64
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, infoRefs) {
		b.asks.Add(1)
	} else {
		b.packs.Add(1)
	}
	h := cgi.Handler{Path: gitBackend, Root: "/", Env: []string{
		"GIT_PROJECT_ROOT=" + b.root, "GIT_HTTP_EXPORT_ALL=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}, Stderr: io.Discard}
	h.ServeHTTP(w, r)
}

var gitBackend = func() string {
	out, _ := exec.Command("git", "--exec-path").Output()
	return filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
}()

func serve(t testing.TB, r repo) (string, *backend) {
	t.Helper()
	b := &backend{root: filepath.Dir(r.dir)}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	return s.URL + "/repo.git", b
}

func newStore(t testing.TB, change func(*Options)) *Store {
	t.Helper()
	o := Options{Dir: t.TempDir()}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkFailure compares class, reason and text, all of which users see.
func checkFailure(t *testing.T, err error, class failure.Class, reason string, texts ...string) {
	t.Helper()
	var f *failure.Error
	if !errors.As(err, &f) {
		t.Fatalf("error = %v (%T), want a *failure.Error", err, err)
	}
	if f.Class != class || f.Reason != reason {
		t.Errorf("failure = %s %s, want %s %s: %s", f.Class, f.Reason, class, reason, f.Message())
	}
	for _, want := range texts {
		if !strings.Contains(f.Message(), want) {
			t.Errorf("message = %q, want %q in it", f.Message(), want)
		}
	}
	if f.Class == failure.Stall && f.Hint == "" && reason != v1alpha1.ReasonInvalidSpec {
		t.Errorf("message = %q, want a hint", f.Message())
	}
}

// sshServer serves the directory root to one key, with git-upload-pack.
type sshServer struct {
	addr    string
	hostKey ssh.Signer
	root    string
	allow   ssh.PublicKey
	program string // runs before git
}

func newKey(t testing.TB, passphrase string) (private []byte, signer ssh.Signer) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = ssh.NewSignerFromKey(key); err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer
}

func serveSSH(t testing.TB, root string, allow ssh.PublicKey) *sshServer {
	t.Helper()
	_, host := newKey(t, "")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := &sshServer{addr: l.Addr().String(), hostKey: host, root: root, allow: allow}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.handle(c)
		}
	}()
	return s
}

func (s *sshServer) url() string { return "ssh://git@" + s.addr + "/repo.git" }

func (s *sshServer) knownHosts() []byte {
	return []byte(knownhosts.Line([]string{knownhosts.Normalize(s.addr)}, s.hostKey.PublicKey()) + "\n")
}

func (s *sshServer) handle(c net.Conn) {
	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if bytes.Equal(k.Marshal(), s.allow.Marshal()) {
			return &ssh.Permissions{}, nil
		}
		return nil, fmt.Errorf("no")
	}}
	config.AddHostKey(s.hostKey)
	_, channels, requests, err := ssh.NewServerConn(c, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for n := range channels {
		ch, reqs, err := n.Accept()
		if err != nil {
			return
		}
		go s.run(ch, reqs)
	}
}

func (s *sshServer) run(ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	for r := range reqs {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		line := string(r.Payload[4:])
		cmd := exec.Command("sh", "-c", s.program+strings.Replace(line, "'/", "'"+s.root+"/", 1))
		cmd.Env = append(os.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
		cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
		in, _ := cmd.StdinPipe()
		go func() { _, _ = io.Copy(in, ch); _ = in.Close() }()
		status := []byte{0, 0, 0, 0}
		if cmd.Run() != nil {
			status[3] = 128
		}
		_, _ = ch.SendRequest("exit-status", false, status)
		return
	}
}

func quietLog() *log.Logger { return log.New(io.Discard, "", 0) }
