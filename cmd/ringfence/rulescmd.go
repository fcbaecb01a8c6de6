package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence/console"
	"ringfence/rules"
)

func newRules(g *globals) *cobra.Command {
	c := &cobra.Command{Use: "rules", Short: "Check, test and apply rule files"}
	check := &cobra.Command{
		Use: "check [FILE|FOLDER...]", Short: "Find every mistake in rule files; without any, in the default pack",
		RunE: func(c *cobra.Command, args []string) error { return g.rulesCheck(c.OutOrStdout(), args) },
	}
	test := &cobra.Command{
		Use: "test [FILE|FOLDER...]", Short: "Run the tests beside rule files; without any, those of the default pack",
		RunE: func(c *cobra.Command, args []string) error { return g.rulesTest(c.Context(), c.OutOrStdout(), args) },
	}
	var reason string
	apply := &cobra.Command{
		Use: "apply [FILE|FOLDER...]", Short: "Put rule files in force; without any, those of the daemon's start again",
		RunE: func(c *cobra.Command, args []string) error {
			return g.rulesApply(c.Context(), c.OutOrStdout(), args, reason)
		},
	}
	apply.Flags().StringVar(&reason, "reason", "", "why; it goes to the log")
	apply.Example = "  ringfence rules apply /etc/ringfence/rules --reason 'CHG-1210 night rule'"
	hits := &cobra.Command{
		Use: "hits", Short: "What the rules in force did", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			var all []console.RuleHits
			if err := g.client().Do(c.Context(), http.MethodGet, "/v1/rules/hits", nil, &all); err != nil {
				return err
			}
			rows := [][]string{}
			for _, h := range all {
				rows = append(rows, []string{h.Rule, h.Mode, strconv.FormatUint(h.Matched, 10), strconv.FormatUint(h.Enforced, 10), strconv.FormatUint(h.Shadow, 10), strconv.FormatUint(h.Excepted, 10), strconv.FormatUint(h.Errors, 10), since(time.Now(), h.Last)})
			}
			return g.show(c.OutOrStdout(), all, "RULE\tMODE\tMATCHED\tACTED\tSHADOW\tEXCEPTED\tERRORS\tLAST", rows)
		},
	}
	var shadow bool
	def := &cobra.Command{
		Use: "default", Short: "Print the default pack, to begin one's own with", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := fs.ReadFile(rules.Default(), rules.DefaultFile)
			if err != nil {
				return fmt.Errorf("default pack: %w", err)
			}
			_, err = io.WriteString(c.OutOrStdout(), inShadow(string(text), shadow))
			return err
		},
	}
	def.Flags().BoolVar(&shadow, "shadow", false, "with mode: shadow in every rule")
	c.AddCommand(check, test, apply, hits, def)
	return c
}

// inShadow gives every rule of a pack mode: shadow.
func inShadow(text string, on bool) string {
	if !on {
		return text
	}
	var b strings.Builder
	inRules := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "rules:") {
			inRules = true
		}
		if inRules && strings.HasPrefix(line, "    mode:") {
			continue
		}
		b.WriteString(line)
		if inRules && strings.HasPrefix(line, "  - id:") {
			b.WriteString("    mode: shadow\n")
		}
	}
	return b.String()
}

// sourceArgs are the files named, or the default pack.
func sourceArgs(args []string) (ruleSource, error) {
	if len(args) > 0 {
		return ruleFiles(args)
	}
	return sourceOf(rulesConfig{})
}

// buildEnv is what rules may ask on this build.
func buildEnv() (*rules.Env, error) {
	o := testOptions(guardsConfig{})
	guards, err := o.Guards(o.Meters(), time.Now)
	if err != nil {
		return nil, err
	}
	return rules.NewEnv(guards), nil
}

func (g *globals) rulesCheck(w io.Writer, args []string) error {
	source, err := sourceArgs(args)
	if err != nil {
		return err
	}
	env, err := buildEnv()
	if err != nil {
		return err
	}
	set, problems := rules.Load(source.fsys, source.names, env, rules.LoadOptions{Now: time.Now()})
	if g.format == "json" {
		if err := g.show(w, problems, "", nil); err != nil {
			return err
		}
	} else {
		rules.Print(w, problems, rules.Source(source.fsys))
		errs := 0
		for _, p := range problems {
			if p.Severity == rules.Error {
				errs++
			}
		}
		fmt.Fprintf(w, "%s, %s in %s.", count(errs, "error"), count(len(problems)-errs, "warning"), count(len(source.names), "file"))
		if set != nil {
			fmt.Fprintf(w, " %s.", count(len(set.Rules()), "rule"))
		}
		fmt.Fprintln(w)
	}
	if set == nil {
		return errProblems
	}
	return nil
}

func (g *globals) rulesTest(ctx context.Context, w io.Writer, args []string) error {
	source, err := sourceArgs(args)
	if err != nil {
		return err
	}
	var report *rules.Report
	if onlyTests(source.names) {
		report = rules.Test(ctx, source.fsys, source.names, testOptions(guardsConfig{}))
	} else {
		report = runTests(ctx, source, guardsConfig{})
	}
	if g.format == "json" {
		if err := g.show(w, report, "", nil); err != nil {
			return err
		}
	} else {
		report.Print(w, rules.Source(source.fsys))
	}
	if !report.OK() {
		return errProblems
	}
	return nil
}

func onlyTests(names []string) bool {
	for _, n := range names {
		if !isTest(n) {
			return false
		}
	}
	return len(names) > 0
}

func (g *globals) rulesApply(ctx context.Context, w io.Writer, args []string, reason string) error {
	in := console.ApplyRequest{Files: args, Reason: reason}
	for i := range in.Files { // the daemon may stand in another folder
		if !strings.HasPrefix(in.Files[i], "/") {
			here, err := os.Getwd()
			if err != nil {
				return fmt.Errorf("rules: %w", err)
			}
			in.Files[i] = here + "/" + in.Files[i]
		}
	}
	var out console.Applied
	if err := g.client().Do(ctx, http.MethodPost, "/v1/rules/apply", in, &out); err != nil {
		return err
	}
	if g.format == "json" {
		if err := g.show(w, out, "", nil); err != nil {
			return err
		}
	} else if len(out.Problems) > 0 {
		for _, p := range out.Problems {
			fmt.Fprintln(w, printable(p))
		}
		fmt.Fprintf(w, "%s. The running set (%s) is unchanged.\n", count(len(out.Problems), "problem"), out.Version)
	} else {
		fmt.Fprintf(w, "%s in force: version %s, before it %s\n", count(out.Rules, "rule"), out.Version, out.Was)
	}
	if len(out.Problems) > 0 {
		return errProblems
	}
	return nil
}

func newCheck(g *globals) *cobra.Command {
	f := new(runFlags)
	c := &cobra.Command{
		Use: "check", Short: "Check the configuration and its rules, start nothing", Args: nothing,
		Example: "  ringfence check --config /etc/ringfence/ringfence.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := f.load(g)
			if err != nil {
				return err
			}
			return f.checkAll(c.Context(), c.OutOrStdout(), cfg)
		},
	}
	f.register(c.Flags())
	return c
}

// checkAll checks what a start would, and opens nothing that it would change.
func (f *runFlags) checkAll(ctx context.Context, w io.Writer, cfg *config) error {
	source, err := sourceOf(cfg.Rules)
	if err != nil {
		return err
	}
	o := testOptions(cfg.Guards)
	guards, err := o.Guards(o.Meters(), time.Now)
	if err != nil {
		return err
	}
	set, problems := rules.Load(source.fsys, source.names, rules.NewEnv(guards), rules.LoadOptions{Now: time.Now()})
	rules.Print(w, problems, rules.Source(source.fsys))
	bad := set == nil
	if set != nil {
		if report := runTests(ctx, source, cfg.Guards); !report.OK() {
			report.Print(w, rules.Source(source.fsys))
			bad = true
		}
	}
	if missing := f.files(cfg); len(missing) > 0 {
		fmt.Fprintln(w, missing)
		bad = true
	}
	if bad {
		return errProblems
	}
	fmt.Fprintf(w, "fine: %s, %s, %s\n", count(len(cfg.Listen), "listener"), count(len(cfg.NextHops), "next hop"), count(len(set.Rules()), "rule"))
	return nil
}

func newFacts(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "facts", Short: "List what rules can ask on this build", Args: nothing,
		RunE: func(c *cobra.Command, _ []string) error {
			env, err := buildEnv()
			if err != nil {
				return err
			}
			type row struct {
				Name  string `json:"name"`
				Type  string `json:"type"`
				Stage string `json:"stage"`
				Doc   string `json:"doc"`
			}
			all, rows := []row{}, [][]string{}
			for _, f := range env.Facts() {
				all = append(all, row{f.Name, f.Type.String(), f.Stage.String(), f.Doc})
				rows = append(rows, []string{f.Name, f.Type.String(), f.Stage.String(), f.Doc})
			}
			return g.show(c.OutOrStdout(), all, "FACT\tTYPE\tFROM STAGE\tMEANING", rows)
		},
	}
}
