// Package budget compares what a task's attempts have used with what they may use.
package budget

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/graf-run/graf/shared/postgres/query"
)

// Check adds up what a task has used, if that is bounded: by tokens, input and output together, or by US dollars; nil is
// no bound. spent says which of them is used up, "" for none.
func Check(ctx context.Context, q *query.Queries, task uuid.UUID, tokens *int64, usd *float64) (used query.SumUsageRow, spent string, err error) {
	if tokens == nil && usd == nil {
		return used, "", nil
	}
	if used, err = q.SumUsage(ctx, task); err != nil {
		return used, "", fmt.Errorf("add up what task %s used: %w", task, err)
	}
	return used, compare(tokens, usd, used), nil
}

func compare(tokens *int64, usd *float64, used query.SumUsageRow) string {
	switch total := used.InputTokens + used.OutputTokens; {
	case tokens != nil && total >= *tokens:
		return fmt.Sprintf("%d of %d tokens are used", total, *tokens)
	case usd != nil && used.Usd >= *usd:
		return fmt.Sprintf("$%.4f of $%.4f are spent", used.Usd, *usd)
	}
	return ""
}
