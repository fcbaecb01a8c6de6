package proxy

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 180, "")
		l.starts("alice: SIP/2.0 180")
		invite := l.last["pbx"]
		l.hop("alice", "CANCEL")
		l.starts("alice: SIP/2.0 200", "pbx: CANCEL sip:100@example.com")
		if a, b := header(l.last["pbx"], "Via"), header(invite, "Via"); a != b {
			t.Errorf("the CANCEL has Via %s, the INVITE %s", a, b)
		}
		l.answer("pbx", 200, "")
		l.starts()
		l.answerTo("pbx", invite, 487, "")
		l.starts("pbx: ACK", "alice: SIP/2.0 487")
		l.hop("alice", "ACK")
		time.Sleep(time.Minute)
		l.starts()
	})
}

func TestCancelWaitsForAProvisional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.hop("alice", "CANCEL")
		l.starts("alice: SIP/2.0 200") // RFC 3261 section 9.1
		l.answer("pbx", 100, "")
		l.starts("pbx: CANCEL")
	})
}

// A branch that has not been heard of when another answers is canceled with its
// first response, too.
func TestALateBranchIsCanceledWhenItIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newOffice(t)
		l.invite("alice", "bob@example.com", "")
		l.starts("soft: INVITE", "desk: INVITE")
		l.answer("soft", 200, "")
		l.starts("alice: SIP/2.0 200")
		l.answer("desk", 100, "")
		l.starts("desk: CANCEL")
	})
}

func TestCancelIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 180, "")
		l.hop("alice", "CANCEL")
		l.got()
		time.Sleep(700 * time.Millisecond)
		l.starts("pbx: CANCEL")
		l.answer("pbx", 200, "")
		time.Sleep(5 * time.Second)
		l.starts()
		time.Sleep(30 * time.Second) // the INVITE is never answered
		l.starts("alice: SIP/2.0 487")
	})
}

func TestAnswerAfterCancelPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 180, "")
		l.got()
		invite := l.last["pbx"]
		l.hop("alice", "CANCEL")
		l.got()
		l.answerTo("pbx", invite, 200, "")
		l.starts("alice: SIP/2.0 200") // who canceled acknowledges and hangs up
	})
}

func TestAnswerThatNobodyWaitsForIsHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, twoPBXs, nil)
		l.invite("alice", "100@example.com", "")
		l.starts("pbx1: INVITE")
		first := l.last["pbx1"]
		l.answer("pbx1", 183, "")
		l.got()
		time.Sleep(185300 * time.Millisecond) // Timer C
		l.starts("pbx1: CANCEL")
		l.answer("pbx1", 200, "")
		time.Sleep(33 * time.Second)
		l.starts("alice: SIP/2.0 408")
		l.answerTo("pbx1", first, 200, "") // far too late
		l.starts("pbx1: ACK sip:203.0.113.5:5060", "pbx1: BYE sip:203.0.113.5:5060")
		l.answerTo("pbx1", first, 200, "") // its ACK was late
		l.starts("pbx1: ACK")
	})
}

func TestCancelFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := map[string]string{"alice": "192.0.2.10:5060", "pbx": "203.0.113.5:5060", "mallory": "192.0.2.66:5060"}
		l := newLab(t, hosts, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 180, "")
		l.got()
		l.last["mallory invite"] = l.last["alice invite"]
		l.hop("mallory", "CANCEL")
		l.starts("mallory: SIP/2.0 481")
	})
}

var twoPBXs = map[string]string{"alice": "192.0.2.10:5060", "pbx1": "203.0.113.5:5060", "pbx2": "203.0.113.6:5060"}

func TestFailover(t *testing.T) {
	t.Run("503", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, twoPBXs, nil)
			l.invite("alice", "100@example.com", "")
			l.starts("pbx1: INVITE")
			l.answer("pbx1", 503, "")
			l.starts("pbx1: ACK", "pbx2: INVITE")
			l.answer("pbx2", 200, "")
			l.starts("alice: SIP/2.0 200")
		})
	})
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, twoPBXs, nil)
			l.invite("alice", "100@example.com", "")
			l.got()
			time.Sleep(6300 * time.Millisecond)
			all := l.got()
			if last := all[len(all)-1]; l.nameOf(last.flow.Remote) != "pbx2" {
				t.Errorf("the last went to %v", last)
			}
			l.answer("pbx2", 404, "")
			l.starts("pbx2: ACK", "alice: SIP/2.0 404")
		})
	})
	t.Run("refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, twoPBXs, nil)
			l.wire.refuse[l.hosts["pbx1"].addr] = true
			l.invite("alice", "100@example.com", "")
			l.starts("pbx2: INVITE")
		})
	})
	t.Run("all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newLab(t, twoPBXs, nil)
			l.invite("alice", "100@example.com", "")
			l.got()
			l.answer("pbx1", 503, "")
			l.got()
			l.answer("pbx2", 503, "")
			l.starts("pbx2: ACK", "alice: SIP/2.0 500") // RFC 3261 section 16.7 step 6
		})
	})
}

func TestTimerC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		l.answer("pbx", 180, "")
		l.got()
		invite := l.last["pbx"]
		time.Sleep(150 * time.Second)
		l.answerTo("pbx", invite, 180, "") // begins Timer C anew
		l.starts("alice: SIP/2.0 180")
		time.Sleep(150 * time.Second)
		l.starts()
		time.Sleep(35300 * time.Millisecond)
		l.starts("pbx: CANCEL")
		l.answer("pbx", 200, "")
		l.answerTo("pbx", invite, 487, "")
		l.starts("pbx: ACK", "alice: SIP/2.0 487")
	})
}

func TestAnswersOfOneBranchAllPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, onePBX, nil)
		l.invite("alice", "100@example.com", "")
		l.got()
		invite := l.last["pbx"]
		l.answer("pbx", 200, "")
		l.starts("alice: SIP/2.0 200")
		l.answerTo("pbx", invite, 200, "") // its ACK is late
		l.starts("alice: SIP/2.0 200")
		l.answerTo("pbx", strings.Replace(invite, "To: <sip:100@example.com>", "To: <sip:100@example.com>;tag=fork", 1), 200, "")
		l.starts("alice: SIP/2.0 200")
		if !strings.Contains(l.last["alice"], "tag=fork") {
			t.Error("the other fork's answer was lost")
		}
		l.answerTo("pbx", invite, 486, "")
		l.starts()
		time.Sleep(33 * time.Second) // Timer L and M
		l.answerTo("pbx", invite, 200, "")
		l.starts()
	})
}
