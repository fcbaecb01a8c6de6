package main

import (
	"testing"
	"time"

	"ringfence/console"
)

func TestHopText(t *testing.T) {
	for _, c := range []struct {
		h    console.Hop
		want string
	}{
		{console.Hop{}, "no server, nothing was forwarded yet"},
		{console.Hop{Servers: 1}, "down, nothing was forwarded yet"},
		{console.Hop{Servers: 1, Up: 1, Responses: 1, Median: 1234567, P99: 56 * time.Millisecond}, "up, answers in 1.2ms (median), 56ms (99 %), 1 response"},
		{console.Hop{Servers: 3, Up: 2, Responses: 20, Median: 350123, P99: 31999 * time.Millisecond}, "2 of 3 servers up, answers in 350µs (median), 32s (99 %), 20 responses"},
	} {
		if got := hopText(c.h); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
