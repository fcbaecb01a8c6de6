package guard

import "fmt"

// A Stage is named by what has become known when it begins.
type Stage uint8

// The stages in the order in which they run.
const (
	StageMessage  Stage = iota // the message is parsed
	StageIdentity              // credentials were looked at
	StageCall                  // the target is normalised and the account loaded
	StageReply                 // the next hop answered; effects only
	StageEnd                   // the call ended; effects only
	Stages                     // how many
)

var stageTexts = [...]string{"message", "identity", "call", "reply", "end"}

// String is the stage as rules write it.
func (s Stage) String() string { return stageTexts[s] }

// ParseStage is the inverse of String.
func ParseStage(text string) (Stage, error) {
	for i, t := range stageTexts {
		if t == text {
			return Stage(i), nil
		}
	}
	return 0, fmt.Errorf("no stage is called %q (want message, identity, call, reply or end)", text)
}
