package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence/console"
)

func newExplain(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "explain ADDRESS|AOR|CALL-ID", Short: "Say what was decided, by which rule, on which facts, until when, and what would undo it",
		Args: arguments("an address, an address of record or a Call-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			var x console.Explanation
			if err := g.client().Do(c.Context(), http.MethodGet, "/v1/explain?about="+url.QueryEscape(args[0]), nil, &x); err != nil {
				return err
			}
			if g.format == "json" {
				return g.show(c.OutOrStdout(), x, "", nil)
			}
			tell(c.OutOrStdout(), &x)
			return nil
		},
	}
}

// tell writes an explanation as prose and short tables.
func tell(w io.Writer, x *console.Explanation) {
	fmt.Fprintf(w, "%s (%s)", printable(x.About), x.Kind)
	if x.Country != "" {
		fmt.Fprintf(w, ", %s", x.Country)
	}
	if x.Trust != "" {
		fmt.Fprintf(w, ", %s", x.Trust)
	}
	fmt.Fprintln(w)
	if len(x.Bans) == 0 && x.Kind == "address" {
		fmt.Fprintln(w, "now      not banned, not limited")
	}
	for _, b := range x.Bans {
		word := "banned"
		if b.Kind == "limit" {
			word = "limited to a trickle"
		}
		fmt.Fprintf(w, "now      %s by rule %s until %s (%s more): %s\n", word, b.Rule, b.Until.Local().Format(time.DateTime), short(b.Until.Sub(x.At)), printable(b.Reason))
	}
	if a := x.Account; a != nil {
		fmt.Fprintf(w, "account  %s@%s, class %q, since %s\n", printable(a.User), printable(a.Realm), a.Class, a.Created.Local().Format(time.DateTime))
		for _, b := range a.Bindings {
			fmt.Fprintf(w, "         registered at %s\n", printable(b))
		}
	}
	for _, call := range x.Calls {
		fmt.Fprintf(w, "call     %s, %s to %s, %s\n", call.State, printable(call.From), printable(call.To), printable(call.ID))
	}
	for _, e := range x.Entries {
		by := "no rule"
		if e.Rule != "" {
			by = "rule " + e.Rule
		}
		more := ""
		if e.Stands > 1 {
			more = fmt.Sprintf(" (stands for %d alike)", e.Stands)
		}
		fmt.Fprintf(w, "%s  %s %s -> %s from %s: %s by %s at stage %s%s\n", e.At.Local().Format("01-02 15:04:05"), e.Method,
			printable(e.From), printable(e.To), e.Source, verdictText(e), by, e.Stage, more)
		for _, m := range e.Matches {
			fmt.Fprintf(w, "         %s [%s] %s %s\n", m.Rule, m.Mode, m.Where, m.Title)
			for _, name := range slices.Sorted(maps.Keys(m.Facts)) {
				fmt.Fprintf(w, "           %s = %s\n", name, printable(m.Facts[name]))
			}
		}
	}
	if len(x.Entries) == 0 {
		fmt.Fprintln(w, "history  nothing is recorded")
	}
	if len(x.Undo) > 0 {
		fmt.Fprintln(w, "undo     "+strings.Join(x.Undo, "\n         "))
	}
}

func verdictText(e console.Entry) string {
	text := e.Verdict
	if e.Status != 0 {
		text += fmt.Sprintf(" %d", e.Status)
	}
	if e.Ban != "" {
		text += " + " + e.Ban
	}
	return text
}
