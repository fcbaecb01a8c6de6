package bpf

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const forGood = math.MaxUint64

// wall is a time as Soft counts it: nanoseconds since 1970, zero for good.
func wall(t time.Time) uint64 {
	if t.IsZero() {
		return forGood
	}
	return uint64(max(t.UnixNano(), 1))
}

// boot is a wall time on CLOCK_BOOTTIME, the clock that the program reads. It
// goes on during suspend and is not set back; a step of the wall clock between
// the call and the time moves what was asked for by as much.
func boot(t time.Time) (uint64, error) {
	if t.IsZero() {
		return forGood, nil
	}
	var now, since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return 0, err
	}
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return 0, err
	}
	return uint64(max(t.UnixNano()-now.Nano()+since.Nano(), 1)), nil
}
