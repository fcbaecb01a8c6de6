package record

import (
	"testing"
	"time"
)

func TestPaceIsForOneSecond(t *testing.T) {
	var p pace
	start := time.Unix(1000, 0)
	kept := 0
	for i := range 300 {
		if p.take(start.Add(time.Duration(i)*10*time.Millisecond), 40) {
			kept++
		}
	}
	if kept != 3*40 { // 100 came in each of three seconds
		t.Errorf("kept %d", kept)
	}
}
