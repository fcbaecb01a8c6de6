package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"ringfence/console"
)

func newCalls(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use: "calls", Short: "List the calls that are up", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var calls []console.Call
			if err := g.client().Do(c.Context(), http.MethodGet, "/v1/calls", nil, &calls); err != nil {
				return err
			}
			now, rows := time.Now(), [][]string{}
			for _, x := range calls {
				length := ""
				if !x.Answered.IsZero() {
					length = short(now.Sub(x.Answered))
				}
				rows = append(rows, []string{x.From, x.To, x.State, length, x.Account, x.Source, x.Towards, x.ID})
			}
			return g.show(c.OutOrStdout(), calls, "FROM\tTO\tSTATE\tLENGTH\tACCOUNT\tSOURCE\tTOWARDS\tCALL-ID", rows)
		},
	}
	var reason string
	end := &cobra.Command{
		Use: "end CALL-ID", Short: "End a call: BYE both ways", Args: arguments("a Call-ID"),
		RunE: func(c *cobra.Command, args []string) error {
			in := console.EndRequest{ID: args[0], Reason: reason}
			if err := g.client().Do(c.Context(), http.MethodPost, "/v1/calls/end", in, &struct{}{}); err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), "BYE sent both ways")
			return nil
		},
	}
	end.Flags().StringVar(&reason, "reason", "ended by the operator", "text of the Reason header")
	c.AddCommand(end)
	return c
}
