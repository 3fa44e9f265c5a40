package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	pollInterval = 50 * time.Millisecond
	readyTimeout = 5 * time.Minute
)

var errNotYet = errors.New("not yet")

// waitFor polls until the check passes. If it never does, the error is what
// ended the context, or the last thing the check complained about.
func waitFor(ctx context.Context, what string, check func(context.Context) error) error {
	deadline := time.After(readyTimeout)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-tick.C:
		}
	}
}

func (c *client) serverReady(ctx context.Context) error {
	return c.get(ctx, "/readyz", nil)
}

func (c *client) defaultNamespaceExists(ctx context.Context) error {
	return c.get(ctx, "/api/v1/namespaces/default", nil)
}

// rolesAggregated passes once the controller manager has filled the roles that
// are the sum of others; before, they grant nothing.
func (c *client) rolesAggregated(ctx context.Context) error {
	var role struct {
		Rules []any `json:"rules"`
	}
	if err := c.get(ctx, "/apis/rbac.authorization.k8s.io/v1/clusterroles/admin", &role); err != nil {
		return err
	}
	if len(role.Rules) == 0 {
		return errNotYet
	}
	return nil
}

// defaultAccountExists passes once pods can be created in the namespace.
func (c *client) defaultAccountExists(ctx context.Context) error {
	return c.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
}

// nodesReady passes once every node is Ready and takes pods.
func (c *client) nodesReady(ctx context.Context) error {
	var list struct {
		Items []node `json:"items"`
	}
	if err := c.get(ctx, "/api/v1/nodes", &list); err != nil {
		return err
	}
	if len(list.Items) < nodeCount {
		return errNotYet
	}
	for _, n := range list.Items {
		if !n.takesPods() {
			return errNotYet
		}
	}
	return nil
}

// createNodes registers the nodes that kwok plays.
func (c *client) createNodes(ctx context.Context) error {
	for i := range nodeCount {
		n := newNode(fmt.Sprintf("node-%d", i+1))
		if err := c.create(ctx, "/api/v1/nodes", n); err != nil {
			return err
		}
	}
	return nil
}
