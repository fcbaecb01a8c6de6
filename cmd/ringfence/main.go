// Command ringfence is a SIP firewall and fraud guard: it stands inline between
// the network and a SIP server. `ringfence help` lists what it can do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes: 0 fine, 1 problems found, 2 could not run.
const (
	exitProblems = 1
	exitUnable   = 2
)

// errProblems is returned by a command that found problems and has already
// shown them.
var errProblems = errors.New("problems were found")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(execute(ctx, os.Args[1:]))
}

func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var bad problems
	var inRules *ruleProblems
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errProblems):
		return exitProblems
	case errors.As(err, &bad):
		fmt.Fprintln(os.Stderr, bad)
		fmt.Fprintln(os.Stderr, count(len(bad), "error"), "in the configuration. Nothing was started.")
		return exitProblems
	case errors.As(err, &inRules):
		fmt.Fprintln(os.Stderr, inRules)
		fmt.Fprintln(os.Stderr, "The rules do not load. Nothing was started.")
		return exitProblems
	default:
		fmt.Fprintln(os.Stderr, "ringfence:", err)
		return exitUnable
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "ringfence",
		Short:         "A SIP firewall and fraud guard",
		Long:          "ringfence stands inline between the network and a SIP server. It drops floods in the\nkernel, proves who is calling, lets written rules decide, and explains every refusal.",
		SilenceErrors: true, SilenceUsage: true, Version: version(),
	}
	root.SetVersionTemplate(versionLine())
	g := new(globals)
	root.PersistentFlags().StringVar(&g.state, "state", "", "state directory (default ./var)")
	root.PersistentFlags().StringVar(&g.format, "format", "text", "text or json, for everything that prints a table")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if g.format != "text" && g.format != "json" {
			return fmt.Errorf("--format %q: want text or json", g.format)
		}
		return nil
	}
	root.AddCommand(
		newRun(g), newDemo(g), newCheck(g), newRules(g), newBans(g), newLift(g), newAccount(g), newCalls(g),
		newHistory(g), newExplain(g), newWatch(g), newDoctor(g), newStatus(g), newConfig(g), newFilter(g), newFacts(g), newGuards(g), newVersion(g),
	)
	root.SetHelpCommand(newHelp())
	explainUsage(root)
	return root
}

// newHelp is cobra's help, but that a command that there is not is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command",
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return onlySubcommands(about, rest)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// globals are the flags that every command has.
type globals struct{ state, format string }

func (g *globals) dir() string {
	if g.state == "" {
		return "var"
	}
	return g.state
}

func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
