package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

var (
	errHostUnknown = errors.New("the server's host key is not in known_hosts")
	errHostChanged = errors.New("the server's host key is not the one in known_hosts")
	errHostRevoked = errors.New("the server's host key is marked as revoked in known_hosts")
	errKeyRefused  = errors.New("the server does not accept the SSH key")
	// errNoRepository: git-upload-pack ended without a word, which is how SSH
	// servers answer for a repository that is absent or not for this key.
	errNoRepository = errors.New("the server has no such repository for this SSH key")
)

type sshSession struct {
	client  *ssh.Client
	session *ssh.Session
	in      io.WriteCloser
	out     io.ReadCloser
	asked   bool
	stop    func() bool
}

// newSSHSession connects, checks the host key against known_hosts and starts
// git-upload-pack. The connection is closed when ctx ends.
func newSSHSession(ctx context.Context, dir string, a address, c *Credentials, stall time.Duration) (*sshSession, error) {
	check, err := hostKeys(dir, c.KnownHosts)
	if err != nil {
		return nil, err
	}
	signer, err := c.signer()
	if err != nil {
		return nil, errKeyRefused
	}
	conn, err := guard().Dial(ctx, "tcp", a.dialAddress())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	s, err := handshake(conn, a, check, signer)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, err
	}
	s.stop = stop
	if err := s.start(a.path, stall); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// hostKeys returns the check of a server's key. The library reads known_hosts
// from files only; the content is public.
func hostKeys(dir string, raw []byte) (ssh.HostKeyCallback, error) {
	f, err := os.CreateTemp(dir, knownHostsPattern)
	if err != nil {
		return nil, fmt.Errorf("create known_hosts: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("write known_hosts: %w", err)
	}
	check, err := knownhosts.New(f.Name())
	if err != nil {
		return nil, errHostUnknown
	}
	return check, nil
}

func handshake(conn net.Conn, a address, check ssh.HostKeyCallback, signer ssh.Signer) (*sshSession, error) {
	var hostErr error
	var authenticating bool
	config := &ssh.ClientConfig{
		User: a.user,
		Auth: []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
			authenticating = true
			return []ssh.Signer{signer}, nil
		})},
		HostKeyAlgorithms: knownAlgorithms(check, a.dialAddress(), conn.RemoteAddr()),
		HostKeyCallback: func(host string, remote net.Addr, key ssh.PublicKey) error {
			hostErr = hostKeyError(check(host, remote, key))
			return hostErr
		},
	}
	if len(config.HostKeyAlgorithms) == 0 {
		return nil, errHostUnknown
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // of the handshake
	c, channels, requests, err := ssh.NewClientConn(conn, a.dialAddress(), config)
	_ = conn.SetDeadline(time.Time{})
	if err == nil {
		return &sshSession{client: ssh.NewClient(c, channels, requests)}, nil
	}
	return nil, handshakeError(err, hostErr, authenticating)
}

// handshakeError sorts the failures of a handshake. The library has no type
// for a refused key; it is what remains when the server was reached and known.
func handshakeError(err, hostErr error, authenticating bool) error {
	var network net.Error
	var algorithms *ssh.AlgorithmNegotiationError
	switch {
	case hostErr != nil:
		return hostErr
	case errors.As(err, &algorithms) && !authenticating:
		return errHostChanged // it offers no key of a type in known_hosts
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return err
	case authenticating:
		return errKeyRefused
	}
	return err
}

func hostKeyError(err error) error {
	var key *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &revoked):
		return errHostRevoked
	case errors.As(err, &key) && len(key.Want) > 0:
		return errHostChanged
	}
	return errHostUnknown
}

// knownAlgorithms asks the check with a key nobody has for the types of key it
// knows, because a server that has several sends the type agreed on first.
func knownAlgorithms(check ssh.HostKeyCallback, host string, remote net.Addr) []string {
	var key *knownhosts.KeyError
	if !errors.As(check(host, remote, noKey{}), &key) {
		return nil
	}
	var algorithms []string
	for _, known := range key.Want {
		if t := known.Key.Type(); t == ssh.KeyAlgoRSA {
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			algorithms = append(algorithms, t)
		}
	}
	return algorithms
}

type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errHostUnknown }

func (s *sshSession) start(path string, stall time.Duration) error {
	var err error
	if s.session, err = s.client.NewSession(); err != nil {
		return err
	}
	if s.in, err = s.session.StdinPipe(); err != nil {
		return err
	}
	out, err := s.session.StdoutPipe()
	if err != nil {
		return err
	}
	s.out = &patient{ReadCloser: io.NopCloser(out), limit: stall, abandon: func() { _ = s.client.Close() }}
	return s.session.Start("git-upload-pack " + quote(path))
}

// quote is Git's quoting of a path for a shell. The path begins with a slash,
// so it is never taken for an option; of /~user the slash is dropped, as Git
// does.
func quote(path string) string {
	if strings.HasPrefix(path, "/~") {
		path = path[1:]
	}
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

func (s *sshSession) refs(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(&firstRead{r: s.out, wait: s.session.Wait}), nil
}

// firstRead turns the end of a stream before its first byte into the reason
// that the exit status gives.
type firstRead struct {
	r    io.Reader
	wait func() error
	any  bool
}

func (f *firstRead) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if n > 0 {
		f.any = true
	}
	if !f.any && errors.Is(err, io.EOF) {
		var status *ssh.ExitError
		if errors.As(f.wait(), &status) {
			return 0, errNoRepository
		}
	}
	return n, err
}

func (s *sshSession) upload(_ context.Context, r *packp.UploadPackRequest) (io.ReadCloser, error) {
	s.asked = true
	if err := encode(s.in, r); err != nil {
		return nil, err
	}
	return io.NopCloser(s.out), nil
}

// Close ends the conversation, politely where nothing was asked for.
func (s *sshSession) Close() error {
	if !s.asked && s.in != nil {
		_ = pktline.NewEncoder(s.in).Flush()
	}
	err := s.client.Close()
	s.stop()
	return err
}
