package main

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports of a sandbox are a row of their own, from below the range out of
// which the kernel serves outgoing connections.
const (
	firstPort = 10000
	lastPort  = 30000
	rowLength = 100
)

// claimPorts returns a row of ports of loopback. Whoever listens on the first
// has the others: a port that is only looked at may be taken by the next sandbox
// before it is used. The listener is open until the sandbox ends.
func claimPorts() (claim net.Listener, others []int, err error) {
	for _, row := range rand.Perm((lastPort - firstPort) / rowLength) {
		first := firstPort + row*rowLength
		if claim, err = listen(first); err != nil {
			continue
		}
		others = others[:0]
		for port := first + 1; port < first+rowLength; port++ {
			if free(port) {
				others = append(others, port)
			}
		}
		if len(others) > rowLength/2 {
			return claim, others, nil
		}
		_ = claim.Close()
	}
	return nil, nil, fmt.Errorf("find %d free ports in a row between %d and %d: there are none", rowLength, firstPort, lastPort)
}

func listen(port int) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
}

func free(port int) bool {
	l, err := listen(port)
	return err == nil && l.Close() == nil
}
