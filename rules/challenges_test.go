package rules

import "testing"

func TestChallenges(t *testing.T) {
	for rule, want := range map[string]bool{
		"": false,
		"  - {id: a, title: t, when: 'sip.size == 0', do: challenge}\n":               true,
		"  - {id: a, title: t, when: 'sip.size == 0', do: challenge, mode: shadow}\n": false,
		"  - {id: a, title: t, when: 'sip.size == 0', do: drop}\n":                    false,
	} {
		text := rule
		if rule != "" {
			text = rulesHead + rule
		}
		if got := newBench(t, text).set.Challenges(); got != want {
			t.Errorf("%q: %v, want %v", rule, got, want)
		}
	}
}
