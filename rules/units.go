package rules

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

var spanShape = regexp.MustCompile(`^(\d+)(ms|s|m|h|d|w)$`)

var spanUnits = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// parseSpan reads a duration as people write it: 500ms, 90s, 5m, 24h, 7d.
func parseSpan(text string) (time.Duration, error) {
	if m := spanShape.FindStringSubmatch(text); m != nil {
		n, err := strconv.ParseInt(m[1], 10, 32)
		if err == nil && time.Duration(n) <= math.MaxInt64/spanUnits[m[2]] {
			return time.Duration(n) * spanUnits[m[2]], nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%q is no duration: write a number and ms, s, m, h or d, such as 90s, 5m or 7d", text)
}

// spanText writes a duration as parseSpan reads it.
func spanText(d time.Duration) string {
	for _, unit := range []string{"d", "h", "m", "s"} {
		if d >= spanUnits[unit] && d%spanUnits[unit] == 0 {
			return strconv.FormatInt(int64(d/spanUnits[unit]), 10) + unit
		}
	}
	return d.String()
}

// parseDay reads a date, or an instant; a date ends at its midnight, UTC.
func parseDay(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, fmt.Errorf("%q is no date: write it as 2026-12-31", text)
	}
	return t.AddDate(0, 0, 1), nil
}
