package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	graf "github.com/graf-run/graf/sdk/go"
)

func (a *app) dlqCommand() *cobra.Command {
	command := &cobra.Command{
		Use:     "dlq",
		Short:   "See events that no subscriber took, and send them again (for operators)",
		Example: "  graf dlq list --status dead\n  graf dlq replay 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d",
		Args:    arguments(0, 0, "list, show or replay"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	command.AddCommand(a.dlqListCommand(), a.dlqShowCommand(), a.dlqReplayCommand())
	return command
}

func (a *app) dlqListCommand() *cobra.Command {
	var params graf.ListDeadLettersParams
	var states []string
	var since time.Duration
	var limit int
	command := &cobra.Command{
		Use:     "list",
		Short:   "List dead letters, newest first",
		Example: "  graf dlq list --status dead --since 24h",
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			if since > 0 {
				params.Since = time.Now().Add(-since)
			}
			for _, state := range states {
				params.Status = append(params.Status, graf.DeadLetterStatus(state))
			}
			if params.Limit, err = pageLimit(limit); err != nil {
				return err
			}
			letters := []graf.DeadLetter{}
			for letter, err := range client.DeadLetters(cmd.Context(), params) {
				if err != nil {
					return err
				}
				if letters = append(letters, letter); len(letters) >= limit {
					break
				}
			}
			return a.show(letters, func() error { return a.listLetters(letters) })
		},
	}
	flags := command.Flags()
	flags.StringVar(&params.Type, "type", "", "only events of this CloudEvents type")
	flags.StringArrayVar(&states, "status", nil, "only dead, replayed or died_again; may be repeated")
	flags.DurationVar(&since, "since", 0, "only of this last time, such as 24h")
	flags.IntVar(&limit, "limit", 50, "the most letters")
	return command
}

func (a *app) listLetters(letters []graf.DeadLetter) error {
	rows := [][]string{{"LETTER", "STATUS", "TYPE", "SUBJECT", "AGE", "ERROR"}}
	for _, letter := range letters {
		rows = append(rows, []string{
			letter.DeadLetterID.String(), string(letter.Status), letter.Type, letter.Subject, age(letter.CreatedAt),
			clip(printable(letter.Error), 50),
		})
	}
	return a.table(rows)
}

func (a *app) dlqShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show LETTER",
		Short:   "Show a dead letter with its event",
		Example: "  graf dlq show 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d -o json",
		Args:    arguments(1, 1, "the id of a dead letter"),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0], noLetter)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			letter, err := client.DeadLetter(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.show(letter, func() error { return a.describeLetter(letter) })
		},
	}
}

func (a *app) describeLetter(letter graf.DeadLetter) error {
	rows := [][]string{
		{"LETTER", letter.DeadLetterID.String()}, {"STATUS", string(letter.Status)}, {"TYPE", letter.Type},
		{"EVENT", letter.EventID}, {"SOURCE", letter.Source}, {"SUBJECT", letter.Subject}, {"DESTINATION", letter.Destination},
		{"ERROR", letter.Error}, {"AGE", age(letter.CreatedAt)},
	}
	if letter.ReplayedAt != nil {
		rows = append(rows, []string{"REPLAYED", fmt.Sprintf("by %s, %s ago", letter.ReplayedBy, age(*letter.ReplayedAt))})
	}
	if err := a.table(rows); err != nil {
		return err
	}
	event, err := encodeYAML(letter.Event)
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	return a.line("\n%s", printableLines(string(event)))
}

func (a *app) dlqReplayCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "replay LETTER",
		Short:   "Send a dead letter's event again, once its cause is mended",
		Example: "  graf dlq replay 01985c1e-7b4a-7c3e-9d52-5f0a4c1b2e3d",
		Args:    arguments(1, 1, "the id of a dead letter"),
		RunE: func(cmd *cobra.Command, given []string) error {
			id, err := parseID(given[0], noLetter)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			letter, err := client.ReplayDeadLetter(cmd.Context(), id)
			if err != nil {
				return err
			}
			return a.show(letter, func() error { return a.line("%s is %s", letter.DeadLetterID, letter.Status) })
		},
	}
}
