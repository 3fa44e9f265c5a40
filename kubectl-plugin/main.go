package kubectlplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/internal/failure"
)

// Main runs the command line of this process and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newSession(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	return s.execute(ctx, os.Args[1:])
}

// newSession is a session of this process with the streams given.
func newSession(streams genericiooptions.IOStreams) *session {
	return &session{
		IOStreams:  streams,
		clock:      clock.RealClock{},
		isTerminal: isTerminal,
		getenv:     os.Getenv,
		config:     newConfigFlags(),
	}
}

// isTerminal reports whether somebody may be looking at what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// execute runs one command line and says on ErrOut what went wrong.
func (s *session) execute(ctx context.Context, args []string) int {
	root := newRootCommand(s)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	s.printError(err)
	var usage *usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailure
}

// printError writes the error and, where there is one, the next step.
func (s *session) printError(err error) {
	text, hint := explain(err)
	if text == "" {
		return
	}
	p := s.palette(s.ErrOut)
	fmt.Fprintf(s.ErrOut, "%s %s\n", p.red("error:"), text)
	if hint != "" {
		fmt.Fprintf(s.ErrOut, "%s %s\n", p.bold("hint:"), hint)
	}
}

// explain splits an error into what happened and what to do about it.
func explain(err error) (text, hint string) {
	text = strings.TrimPrefix(err.Error(), "error: ")
	var known *failure.Error
	var usage *usageError
	var hinted *hintedError
	switch {
	case errors.As(err, &usage):
		return text, usage.hint()
	case errors.As(err, &hinted):
		return text, hinted.hint
	case errors.As(err, &known):
		return text, known.Hint
	case errors.Is(err, context.DeadlineExceeded):
		return text, "the cluster did not answer in time; see whether 'kubectl version' does"
	case errors.Is(err, syscall.ECONNREFUSED), clientcmd.IsEmptyConfig(err):
		return text, "no cluster answers there: set KUBECONFIG, or give --kubeconfig or --context"
	}
	return text, apiHint(err)
}

// apiHint is the next step after an answer of the API server, by its reason.
func apiHint(err error) string {
	switch {
	case apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) && apierrors.IsNotFound(err):
		return "gitseal is not installed in this cluster; its kinds come with 'kubectl apply -k config/default'"
	case apierrors.IsUnauthorized(err):
		return "the cluster does not accept your credentials; see 'kubectl auth whoami'"
	case apierrors.IsForbidden(err):
		return "ask whoever runs the cluster for this right; 'kubectl auth can-i --list' shows those you have"
	case apierrors.IsConflict(err):
		return "somebody changed it at the same moment; run the command again"
	}
	return ""
}

// hintedError is an error of the command line with its next step.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// withHint adds the next step to an error.
func withHint(err error, format string, args ...any) error {
	return &hintedError{error: err, hint: fmt.Sprintf(format, args...)}
}
