-- name: GetTerminalReport :one
-- GetTerminalReport reads the last completed or failed event of an attempt.
SELECT event_type, content FROM codex_task_events
WHERE task_id = $1 AND attempt = $2 AND event_type IN ('completed', 'failed')
ORDER BY sequence DESC LIMIT 1;

-- name: SumUsage :one
-- SumUsage adds up what the attempts of a task reported to have used.
SELECT coalesce(sum(codex_usage_figure(content, 'inputTokens')), 0)::bigint AS input_tokens,
       coalesce(sum(codex_usage_figure(content, 'cachedInputTokens')), 0)::bigint AS cached_input_tokens,
       coalesce(sum(codex_usage_figure(content, 'outputTokens')), 0)::bigint AS output_tokens,
       coalesce(sum(codex_usage_figure(content, 'reasoningTokens')), 0)::bigint AS reasoning_tokens,
       coalesce(sum(codex_usage_figure(content, 'usd')), 0)::double precision AS usd
FROM codex_task_events WHERE task_id = $1 AND event_type = 'usage';
