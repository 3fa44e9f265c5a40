// Package githttp serves bare Git repositories over the smart HTTP protocol.
// It owns who may do what; the protocol itself is git's own http-backend. It
// must not know what the repositories are for.
package githttp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// PrivatePrefix marks the repositories that always need credentials.
const PrivatePrefix = "private-"

// The credentials when none are chosen.
const (
	DefaultUser     = "git"
	DefaultPassword = "sandbox"
)

// bodyLimit bounds what one push may send.
const bodyLimit = 512 << 20

// Config says what to serve and to whom.
type Config struct {
	// Dir holds the repositories.
	Dir string
	// User and Password are asked for always when AuthAlways is set, and for
	// private repositories otherwise.
	User, Password string
	AuthAlways     bool
	// Log gets one line for each request, and what git complains about.
	Log io.Writer
}

// Server is a running Git server.
type Server struct {
	URL string

	config Config
	git    string
	http   *http.Server
	logger *log.Logger
}

// Serve starts a server. The listener is then its own.
func Serve(listener net.Listener, config Config) (*Server, error) {
	gitPath, err := exec.LookPath("git")
	if err != nil {
		return nil, fmt.Errorf("the Git server needs the program git: %w", err)
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	s := &Server{
		URL:    "http://" + listener.Addr().String(),
		config: config,
		git:    gitPath,
		logger: log.New(config.Log, "", log.LstdFlags|log.Lmicroseconds),
	}
	s.http = &http.Server{Handler: s, ErrorLog: s.logger, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.logger.Print(err)
		}
	}()
	return s, nil
}

// Stop ends the server: requests under way get the grace to finish.
func (s *Server) Stop(grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		_ = s.http.Close()
	}
}

// call is one request of the smart protocol.
type call struct {
	name    string // of the repository, without .git
	rest    string // of the path: info/refs or a service
	service string
}

const (
	fetchService = "git-upload-pack"
	pushService  = "git-receive-pack"
)

// parseCall accepts the three requests of the smart protocol and nothing else.
func parseCall(r *http.Request) (call, bool) {
	name, rest, found := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	c := call{name: strings.TrimSuffix(name, ".git"), rest: rest, service: rest}
	if !found || !validName.MatchString(c.name) {
		return call{}, false
	}
	method := http.MethodPost
	if rest == "info/refs" {
		method = http.MethodGet
		c.service = r.URL.Query().Get("service")
	}
	return c, r.Method == method && (c.service == fetchService || c.service == pushService)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	s.serve(recorder, r)
	s.logger.Printf("%s %s %d", r.Method, r.URL.RequestURI(), recorder.status)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c, ok := parseCall(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !s.allowed(c, r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="sandbox"`)
		http.Error(w, "credentials wanted", http.StatusUnauthorized)
		return
	}
	if err := s.prepare(c, r); err != nil {
		s.logger.Print(err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if !exists(repositoryPath(s.config.Dir, c.name)) {
		http.NotFound(w, r)
		return
	}
	s.backend(w, r, c)
}

func (s *Server) allowed(c call, r *http.Request) bool {
	if !s.config.AuthAlways && !strings.HasPrefix(c.name, PrivatePrefix) {
		return true
	}
	user, password, _ := r.BasicAuth()
	sameUser := subtle.ConstantTimeCompare([]byte(user), []byte(s.config.User))
	samePassword := subtle.ConstantTimeCompare([]byte(password), []byte(s.config.Password))
	return sameUser&samePassword == 1
}

// prepare makes the repository when somebody is about to push to it.
func (s *Server) prepare(c call, r *http.Request) error {
	if c.service != pushService {
		return nil
	}
	return Create(r.Context(), s.config.Dir, c.name)
}

func (s *Server) backend(w http.ResponseWriter, r *http.Request, c call) {
	body, err := s.sized(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer body.Close()

	inner := r.Clone(r.Context())
	inner.Body = body
	inner.URL.Path = path.Join("/", c.name+".git", c.rest)
	handler := &cgi.Handler{
		Path:   s.git,
		Args:   []string{"http-backend"},
		Dir:    s.config.Dir,
		Stderr: s.config.Log,
		Logger: s.logger,
		Env: append(gitEnvironment(s.config.Dir),
			"GIT_PROJECT_ROOT="+s.config.Dir, "GIT_HTTP_EXPORT_ALL=1"),
	}
	inner.ContentLength, inner.TransferEncoding = body.length, nil
	handler.ServeHTTP(w, inner)
}

// sizedBody is a request's body whose length is known.
type sizedBody struct {
	io.ReadCloser
	length int64
}

// sized returns the body with its length. Git sends large pushes in chunks of
// an unknown sum, which CGI cannot express, so that those go through a file.
func (s *Server) sized(r *http.Request) (*sizedBody, error) {
	if r.ContentLength >= 0 {
		return &sizedBody{ReadCloser: r.Body, length: r.ContentLength}, nil
	}
	spool, err := os.CreateTemp(s.config.Dir, ".push-")
	if err != nil {
		return nil, err
	}
	// Only the open file keeps it: it goes with the request, come what may.
	if err := os.Remove(filepath.Clean(spool.Name())); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	length, err := io.Copy(spool, io.LimitReader(r.Body, bodyLimit+1))
	if err == nil && length > bodyLimit {
		err = fmt.Errorf("more than %d bytes in one push", bodyLimit)
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return &sizedBody{ReadCloser: spool, length: length}, nil
}

// statusRecorder remembers the status for the log.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}
