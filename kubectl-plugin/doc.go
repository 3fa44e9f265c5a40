// Package kubectlplugin is `kubectl gitseal`: one file per verb, each an
// options struct with Complete (arguments into fields, no effects) and
// Run(ctx). Data goes to stdout, everything said about it to stderr.
//
// Streams, clock, environment and terminal detection come in through session,
// so that a test can stand in for each. The package must not import
// controllers, must not write to os.Stdout or os.Stderr outside Main, and must
// not let plaintext reach a terminal unless --reveal asks for it.
//
// It is larger than a package of ours should be, because a verb is a file here
// and not a package: verbs share the session and little else. What can be done
// without one, as in migrate, has a package of its own.
package kubectlplugin
