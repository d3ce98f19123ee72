// Package budget compares what a task's attempts have used with what they may use.
package budget

import (
	"fmt"

	"github.com/graf-run/graf/shared/postgres/query"
)

// Spent says which part of a budget is used up, "" for none: of tokens, input and output together, or of US dollars. nil
// is no bound.
func Spent(tokens *int64, usd *float64, used query.SumUsageRow) string {
	switch total := used.InputTokens + used.OutputTokens; {
	case tokens != nil && total >= *tokens:
		return fmt.Sprintf("%d of %d tokens are used", total, *tokens)
	case usd != nil && used.Usd >= *usd:
		return fmt.Sprintf("$%.4f of $%.4f are spent", used.Usd, *usd)
	}
	return ""
}
