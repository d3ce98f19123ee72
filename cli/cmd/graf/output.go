package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"sigs.k8s.io/yaml"
)

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

func (a *app) checkOutput() error {
	switch a.output {
	case "", outputTable, outputJSON, outputYAML:
		return nil
	default:
		return usage("--output %q is none of table, json and yaml", a.output)
	}
}

// show prints value as --output says, for people by table.
func (a *app) show(value any, table func() error) error {
	switch a.output {
	case outputJSON:
		encoder := json.NewEncoder(a.out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	case outputYAML:
		text, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	default:
		return table()
	}
}

// table prints rows in columns; the first row is the heading.
func (a *app) table(rows [][]string) error {
	writer := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		if _, err := fmt.Fprintln(writer, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return writer.Flush()
}

func (a *app) line(format string, arguments ...any) error {
	_, err := fmt.Fprintf(a.out, format+"\n", arguments...)
	return err
}

// printable makes text of agents harmless on a terminal: one line without control
// characters, which could move the cursor or rewrite what was printed.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		default:
			return r
		}
	}, text)
}

// printableLines is printable for each line of text.
func printableLines(text string) string {
	lines := strings.Split(strings.ReplaceAll(strings.TrimRight(text, "\n"), "\r\n", "\n"), "\n")
	for i, line := range lines {
		lines[i] = printable(strings.ReplaceAll(line, "\t", "    "))
	}
	return strings.Join(lines, "\n")
}

// style is a sequence of ANSI SGR parameters (ECMA-48, section 8.3.117).
type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

func (s streams) paint(with style, text string) string {
	if !s.colour || with == "" {
		return text
	}
	return "\x1b[" + string(with) + "m" + text + "\x1b[0m"
}

// clip cuts text to so many characters.
func clip(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:max(0, most-1)]) + "…"
}

// age is how long ago a moment was, in one unit.
func age(at time.Time) string {
	switch ago := time.Since(at); {
	case ago < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(ago.Seconds())))
	case ago < time.Hour:
		return fmt.Sprintf("%dm", int(ago.Minutes()))
	case ago < 48*time.Hour:
		return fmt.Sprintf("%dh", int(ago.Hours()))
	default:
		return fmt.Sprintf("%dd", int(ago.Hours()/24))
	}
}
