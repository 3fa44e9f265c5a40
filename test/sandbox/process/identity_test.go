package process

import (
	"os"
	"syscall"
	"testing"
)

func TestIdentityKnowsAReusedPID(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Errorf("%+v.Alive() = false, want true", self)
	}
	// The same pid at another time is another process; were it not, the signal
	// would end this test.
	other := Identity{PID: self.PID, StartTime: self.StartTime + 1}
	if other.Alive() {
		t.Errorf("%+v.Alive() = true, want false", other)
	}
	if err := other.Signal(syscall.SIGKILL); err != nil {
		t.Errorf("%+v.Signal = %v, want nothing done", other, err)
	}
	if (Identity{}).Alive() {
		t.Error("the zero Identity is alive")
	}
}
