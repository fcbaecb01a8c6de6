package index

import (
	"path"
	"strings"
	"testing"
)

// An outcome is what RFC 4475 or RFC 5118 asks of the parser for one message,
// and where we deviate, why.
type outcome struct {
	problem  Problem // "" is accepted
	deviates string  // the RFC asks for the opposite, and this is the reason not to
}

// torture has every message of both RFCs. Accepted are also those whose fault
// lies above the syntax: what is wrong there is for the proxy and the guards.
var torture = map[string]outcome{
	"wsinv":      {},
	"intmeth":    {Control, "escaped NUL, BEL and DEL in a display name: legal, but they end strings and lines in logs and readers behind us"},
	"esc01":      {},
	"escnull":    {EscapedByte, "%00 in a user: legal, but it ends the string in whoever undoes the escape"},
	"esc02":      {},
	"lwsdisp":    {},
	"longreq":    {},
	"dblreq":     {},
	"semiuri":    {},
	"transports": {},
	"mpart01":    {},
	"unreason":   {},
	"noreason":   {},
	"badinv01":   {problem: BadParameter},
	"clerr":      {problem: ShortBody},
	"ncl":        {problem: BadLength},
	"scalar02":   {problem: BadCSeq},
	"scalarlg":   {problem: BadCSeq},
	"quotbal":    {problem: BadQuote},
	"ltgtruri":   {problem: BadScheme},
	"lwsruri":    {problem: BadRequestLine},
	"lwsstart":   {problem: BadRequestLine},
	"trws":       {problem: BadRequestLine},
	"escruri":    {problem: URIHeaders},
	"baddate":    {},
	"regbadct":   {problem: BareURI},
	"badaspec":   {problem: BadScheme},
	"baddn":      {problem: BadScheme},
	"badvers":    {problem: BadVersion},
	"mismatch01": {problem: CSeqMethod},
	"mismatch02": {problem: CSeqMethod},
	"bigcode":    {problem: BadStatus},
	"badbranch":  {},
	"insuf":      {problem: MissingFrom},
	"unkscm":     {},
	"novelsc":    {},
	"unksm2":     {},
	"bext01":     {},
	"invut":      {},
	"regaut01":   {},
	"multi01":    {problem: "duplicate-cseq"},
	"mcl01":      {problem: "duplicate-content-length"},
	"bcast":      {},
	"zeromf":     {},
	"cparam01":   {},
	"cparam02":   {},
	"regescrt":   {},
	"sdp01":      {},
	"inv2543":    {},
	"test":       {problem: BadRequestLine}, // in the archive, not in the text

	"ipv6-good":                     {},
	"ipv6-bad":                      {problem: BadPort},
	"port-ambiguous":                {},
	"port-unambiguous":              {},
	"via-received-param-with-delim": {},
	"via-received-param-no-delim":   {},
	"ipv6-in-sdp":                   {ShortBody, "the file of the archive is shorter than its Content-Length; the RFC means the message to be whole"},
	"mult-ip-in-header":             {},
	"mult-ip-in-sdp":                {},
	"ipv4-mapped-ipv6":              {},
	"ipv6-bug-abnf-3-colons":        {BadHost, "three colons follow from a fault of the RFC 3261 grammar that RFC 5954 mends: readers differ"},
	"ipv6-correct-abnf-2-colons":    {NoBlankLine, "the file of the archive lacks the line end after the headers"},
}

func TestTorture(t *testing.T) {
	seen := map[string]bool{}
	for file, raw := range corpusFiles(t, "torture") {
		name := strings.TrimSuffix(path.Base(file), ".dat")
		seen[name] = true
		t.Run(name, func(t *testing.T) {
			want, ok := torture[name]
			if !ok {
				t.Fatal("no outcome is written down")
			}
			var m Message
			if p := m.Parse(raw, false, Limits{Separators: 128}); p != want.problem {
				t.Fatalf("got %q, want %q", string(p), string(want.problem))
			} else if p == "" {
				check(t, &m, false)
			}
			if want.deviates != "" {
				t.Logf("deviates on purpose: %s", want.deviates)
			}
		})
	}
	for name := range torture {
		if !seen[name] {
			t.Errorf("%s is not in the corpus", name)
		}
	}
}
