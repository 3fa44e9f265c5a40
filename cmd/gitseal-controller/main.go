// Command gitseal-controller is the operator.
package main

import (
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/controllers"
	"github.com/gitseal/gitseal/internal/egress"
)

func main() {
	stop := profile()
	err := run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run() error {
	o := controllers.Operator{Clock: clock.RealClock{}, Random: rand.Reader}
	var logLevel, logFormat string
	var version bool
	var files, plugins, allowEgress string
	flag.StringVar(&o.Namespace, "namespace", v1alpha1.OperatorNamespace, "the operator's own namespace, which holds its keys")
	flag.StringVar(&o.Scratch, "scratch", "/scratch", "directory for clones; holds ciphertext only, emptied at start")
	flag.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "address to serve metrics on; 0 for none")
	flag.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "address to serve /healthz and /readyz on; 0 for none")
	flag.StringVar(&o.WebhookAddress, "webhook-bind-address", "0", "address to receive the webhooks of Git servers on; 0 for none")
	flag.BoolVar(&o.LeaderElection, "leader-elect", true, "elect one leader among the replicas")
	flag.BoolVar(&o.Share, "share", false, "divide the Applications among the replicas, in place of electing one leader")
	flag.IntVar(&o.Concurrency, "concurrent", 8, "Applications worked on at once")
	flag.StringVar(&files, "file-stores", "", "directory below which the directories of file stores are; empty for no file stores")
	flag.StringVar(&plugins, "plugins", "", "directory with the sockets of provider plugins; empty for no plugins")
	flag.StringVar(&allowEgress, "allow-egress", "", "CIDRs, separated by commas, that ClusterSecretStores may be reached at though the guard refuses them: link-local and metadata addresses")
	flag.StringVar(&logLevel, "log-level", "info", "info or debug")
	flag.StringVar(&logFormat, "log-format", "json", "json or text")
	flag.BoolVar(&version, "version", false, "print the version and exit")
	flag.Parse() // --kubeconfig comes with controller-runtime
	if version {
		return printVersion()
	}
	logger, err := newLogger(logLevel, logFormat)
	if err != nil {
		return err
	}
	if o.Egress, err = egress.Parse(allowEgress); err != nil {
		return fmt.Errorf("--allow-egress: %w", err)
	}
	// client-go writes request bodies at its own higher verbosities; its logs
	// go through ours, and its verbosity has no flag.
	klog.SetLogger(logger)
	o.Logger = logger
	if o.Config, err = ctrl.GetConfig(); err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	o.Config.UserAgent = "gitseal-controller"
	if o.Providers, err = backends(o.Config, files, plugins); err != nil {
		return err
	}
	return o.Run(ctrl.SetupSignalHandler())
}

func newLogger(level, format string) (logr.Logger, error) {
	var l slog.Level
	switch level {
	case "info":
		l = slog.LevelInfo
	case "debug":
		l = slog.LevelDebug
	default:
		return logr.Logger{}, fmt.Errorf("--log-level %q: want info or debug", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, options)), nil
	case "text":
		return logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, options)), nil
	}
	return logr.Logger{}, fmt.Errorf("--log-format %q: want json or text", format)
}

func printVersion() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return fmt.Errorf("this program was built without version information")
	}
	fmt.Println("gitseal-controller", info.Main.Version, info.GoVersion)
	return nil
}
