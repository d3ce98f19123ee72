package submit

import (
	"github.com/graf-run/graf/shared/api"
	"github.com/graf-run/graf/shared/postgres/query"
)

// budgetOf is what a task may use, nil for no bound.
func budgetOf(t query.Task) *api.Budget {
	if t.BudgetTokens == nil && t.BudgetUsd == nil {
		return nil
	}
	return &api.Budget{Tokens: t.BudgetTokens, Usd: t.BudgetUsd}
}

func usageOf(row query.SumUsageRow) api.Usage {
	return api.Usage{
		Tokens: row.InputTokens + row.OutputTokens, InputTokens: row.InputTokens, CachedInputTokens: row.CachedInputTokens,
		OutputTokens: row.OutputTokens, ReasoningTokens: row.ReasoningTokens, Usd: row.Usd,
	}
}
