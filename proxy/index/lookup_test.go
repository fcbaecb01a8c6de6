package index

import "testing"

// Every name that has a text is found by it, whatever it shares a hash with.
func TestLookupFindsEveryName(t *testing.T) {
	for n := Other + 1; n < names; n++ {
		if got := lookup([]byte(nameTexts[n])); got != n {
			t.Errorf("%s is found as %q", n, got)
		}
	}
}
