package numbers

import (
	"slices"
	"testing"
)

func TestEmergencyNumbersWithOutsideLine(t *testing.T) {
	e, err := NewEmergencies(Config{OutsideLines: []string{"9"}, Emergency: map[string][]string{"*": {"112"}, "LV": {"110"}}, Country: "LV"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := e.Numbers(), []string{"110", "112", "9110", "9112"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
