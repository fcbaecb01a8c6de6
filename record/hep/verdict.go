package hep

import (
	"encoding/json"
	"fmt"
	"time"

	"ringfence/record/tap"
)

// A verdict is the payload of a packet of type 100. The names are those of
// history entries.
type verdict struct {
	At        string  `json:"at"`
	Source    string  `json:"source"`
	Transport string  `json:"transport"`
	Method    string  `json:"method,omitempty"`
	From      string  `json:"from,omitempty"`
	To        string  `json:"to,omitempty"`
	CallID    string  `json:"call_id,omitempty"`
	Account   string  `json:"account,omitempty"`
	Stage     string  `json:"stage"`
	Verdict   string  `json:"verdict"`
	Status    int     `json:"status,omitempty"`
	Reason    string  `json:"reason,omitempty"`
	Rule      string  `json:"rule,omitempty"`
	Where     string  `json:"where,omitempty"` // file:line of the rule
	Ban       string  `json:"ban,omitempty"`
	Matches   []match `json:"matches,omitempty"`
	Policy    string  `json:"policy,omitempty"`
	Took      int64   `json:"took_ns,omitempty"`
}

type match struct {
	Rule   string `json:"rule"`
	Title  string `json:"title,omitempty"`
	Where  string `json:"where,omitempty"`
	Mode   string `json:"mode"`
	Action string `json:"action"`
}

// verdictJSON writes out a judgement.
func verdictJSON(e *tap.Event) ([]byte, error) {
	j := e.Judgement
	v := verdict{
		At: e.At.UTC().Format(time.RFC3339Nano), Source: e.Src.String(), Transport: e.Transport.String(), Method: j.Method,
		From: j.From, To: j.To, CallID: e.CallID, Account: j.Account, Stage: j.Stage.String(), Verdict: j.Action.String(),
		Status: j.Status, Reason: j.Reason, Rule: j.Rule, Where: j.Where(), Ban: j.Ban, Policy: j.Policy, Took: int64(j.Took),
	}
	for _, m := range j.Matches {
		v.Matches = append(v.Matches, match{m.Rule, m.Title, m.Where, m.Mode.String(), m.Action.String()})
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("verdict: %w", err)
	}
	return text, nil
}
