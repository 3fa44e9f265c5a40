package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The ports are taken from below the range out of which the kernel serves
// outgoing connections: those could take a port between our look and its use.
const (
	firstPort = 20000
	lastPort  = 30000
	portTries = 100
)

// freePorts returns ports of loopback that nobody listens on.
func freePorts(count int) ([]int, error) {
	var ports []int
	for range portTries {
		if len(ports) == count {
			return ports, nil
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		// Held until all are found, so that none is found twice.
		defer l.Close()
		ports = append(ports, port)
	}
	return nil, fmt.Errorf("find %d free ports between %d and %d: gave up after %d tries", count, firstPort, lastPort, portTries)
}
