package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"ringfence/console"
)

// A ladder draws calls as they pass: phone to the left, ringfence in the middle,
// next hop to the right, one line for each message.
type ladder struct {
	w     io.Writer
	color bool
	last  string            // call of the last line
	begun bool              // a line was drawn
	left  map[string]string // who stands on the left, by call
	width int               // of the left column
}

const (
	arrow     = 30   // width of an arrow with its text
	address4  = 21   // the longest IPv4 address with a port
	mostLefts = 4096 // calls whose left side is remembered
)

func newLadder(w io.Writer, color bool) *ladder {
	return &ladder{w: w, color: color, left: map[string]string{}, width: address4}
}

// show draws one line, and a head before it when it belongs to another call
// than the last.
func (l *ladder) show(p console.Passed) error {
	var b strings.Builder
	switch {
	case p.Kind == "lost":
		fmt.Fprintf(&b, "%s\n", l.paint(yellow, count(int(p.Lost), "message")+" not shown"))
	case p.Kind == "verdict" && !telling(&p):
		return nil
	default:
		if !l.begun || p.CallID != l.last {
			l.head(&b, &p)
		}
		if p.Kind == "verdict" {
			l.verdict(&b, &p)
		} else {
			l.message(&b, &p)
		}
	}
	_, err := io.WriteString(l.w, b.String())
	return err
}

// telling tells whether there is something to say about a verdict.
func telling(p *console.Passed) bool {
	return p.Verdict != "pass" || p.Ban != "" || len(p.Matches) > 0
}

func (l *ladder) head(b *strings.Builder, p *console.Passed) {
	if l.begun {
		b.WriteByte('\n')
	}
	l.begun, l.last = true, p.CallID
	text := "no Call-ID"
	if p.CallID != "" {
		text = "call " + printable(p.CallID)
	}
	if p.From != "" || p.To != "" {
		text += ": " + printable(p.From) + " to " + printable(p.To)
	}
	fmt.Fprintf(b, "%s\n%-12s  %-*s %-*s%-*s PBX\n", l.paint(bold, text), "", l.width, "phone", arrow-4, "", arrow+5, "ringfence")
}

// message draws an arrow between ringfence and the far end.
func (l *ladder) message(b *strings.Builder, p *console.Passed) {
	fmt.Fprintf(b, "%s  ", l.paint(faint, p.At.Local().Format("15:04:05.000")))
	text := label(p)
	if !l.onLeft(p) {
		line := drawn(text, p.Kind == "sent")
		far := printable(p.Far)
		if p.Peer != "" && p.Peer != p.Far {
			far += " " + printable(p.Peer)
		}
		fmt.Fprintf(b, "%-*s %-*s|%s %s\n", l.width, "", arrow, "", l.hue(p, line), far)
		return
	}
	far := printable(p.Far)
	l.width = max(l.width, utf8.RuneCountInString(far))
	fmt.Fprintf(b, "%-*s %s|", l.width, far, l.hue(p, drawn(text, p.Kind == "received")))
	if p.First != "" {
		b.WriteString(" " + l.paint(faint, printable(p.First)))
	}
	b.WriteByte('\n')
}

// onLeft tells whether the far end stands on the left: the first one of a call
// that is no next hop.
func (l *ladder) onLeft(p *console.Passed) bool {
	if p.Peer != "" {
		return false
	}
	first, ok := l.left[p.CallID]
	if !ok {
		if len(l.left) >= mostLefts {
			clear(l.left)
		}
		l.left[p.CallID], first = p.Far, p.Far
	}
	return p.CallID == "" || first == p.Far
}

// label is what a message is in a few words.
func label(p *console.Passed) string {
	var text string
	switch {
	case p.Problem != "":
		text = "broken: " + p.Problem
	case p.Status > 0:
		text = strconv.Itoa(p.Status) + " " + p.Reason
		if p.Method != "INVITE" {
			text += " (" + p.Method + ")"
		}
	default:
		text = p.Method
	}
	if p.Again {
		text += " again"
	}
	return printable(text)
}

// drawn is a text in an arrow to the right or to the left.
func drawn(text string, right bool) string {
	if most := arrow - 7; utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most-2]) + ".."
	}
	rest := arrow - 3 - utf8.RuneCountInString(text)
	before, after := strings.Repeat("-", rest/2), strings.Repeat("-", rest-rest/2)
	if right {
		return before + " " + text + " " + after + ">"
	}
	return "<" + after + " " + text + " " + before
}

// verdict says under the message what was decided, by which rule and where that
// stands.
func (l *ladder) verdict(b *strings.Builder, p *console.Passed) {
	indent := strings.Repeat(" ", 14+l.width+1+arrow)
	text := p.Verdict
	if p.Status > 0 {
		text += " " + strconv.Itoa(p.Status)
	}
	if p.Reason != "" {
		text += " " + p.Reason
	}
	if p.Rule != "" {
		text += ", rule " + p.Rule
	}
	if p.Where != "" {
		text += ", " + p.Where
	}
	if p.Ban != "" {
		text += ", " + p.Ban
	}
	tint := yellow
	if p.Verdict == "reject" || p.Verdict == "drop" {
		tint = red
	}
	if p.Verdict != "pass" || p.Ban != "" {
		fmt.Fprintf(b, "%s| %s\n", indent, l.paint(tint, printable(text)))
	}
	for _, m := range p.Matches {
		if m.Rule == p.Rule && m.Mode == "enforced" {
			continue
		}
		fmt.Fprintf(b, "%s| %s\n", indent, l.paint(faint, printable(m.Mode+" "+m.Action+", rule "+m.Rule+", "+m.Where)))
	}
}

// The colors, by SGR of ECMA-48.
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	yellow = "33"
	green  = "32"
)

func (l *ladder) paint(how, text string) string {
	if !l.color {
		return text
	}
	return "\x1b[" + how + "m" + text + "\x1b[0m"
}

// hue is that of an arrow: refusals stand out.
func (l *ladder) hue(p *console.Passed, line string) string {
	switch {
	case p.Problem != "" || p.Status >= 400 && p.Status != 401 && p.Status != 407:
		return l.paint(red, line)
	case p.Again:
		return l.paint(faint, line)
	case p.Status >= 200 && p.Status < 300:
		return l.paint(green, line)
	}
	return line
}
