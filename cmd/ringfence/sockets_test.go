package main

import (
	"fmt"
	"strings"
	"testing"

	"ringfence/proxy/wire"
)

func TestDoctorSaysWhatSocketsLose(t *testing.T) {
	found := func(c wire.Counters) string {
		var lines []string
		examineSockets(c, func(what string, ok bool, _, form string, args ...any) {
			lines = append(lines, fmt.Sprint(what, " ", ok, ": ", fmt.Sprintf(form, args...)))
		})
		return strings.Join(lines, "; ")
	}
	c := wire.Counters{}
	if got, want := found(c), "socket buffers true: 0 datagrams lost before they were read; sending true: 0 messages not sent for want of room"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	c.Overflow, c.Dropped[wire.SendFull], c.Dropped[wire.TooSlow] = 3, 1, 9
	if got, want := found(c), "socket buffers false: 3 datagrams lost before they were read; sending false: 1 message not sent for want of room"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if d := socketDrops(c); d["kernel_overflow"] != 3 || d["too_slow"] != 9 || len(d) != int(wire.Reasons)+1 {
		t.Errorf("%v", d)
	}
}
