"""Attention where few positions change: for each query, the changed keys exchanged in its softmax.

With p the reference's shares and o its sums, a query that is itself unchanged gives

    o' - o = sum over changed keys of (p' - p) (v - o) + p' (v' - v), over 1 + sum of (p' - p)

where p' = p exp(q (k' - k)). Nothing large is subtracted, but where the changed keys held most of a
row's share and lost it: such rows are computed whole. So are the rows of changed queries.
"""

from __future__ import annotations

import torch

from yuzu_cli.graph import ops
from yuzu_cli.kernels.table import DOUBT, kernel

Tensor = torch.Tensor
Held = tuple[Tensor, Tensor, Tensor, Tensor]
"""The reference's queries times the scale, keys and values (B, H, L, D), and the logarithm of each
row's sum (B, H, 1, S), in double precision: a share is the exponential of a logit less that, both
of which may be large where naive's own share is one to the last bit."""

MOST_LOGITS = 1 << 24
"""Logits of the reference made at a time."""
LEAST_KEPT = 0.125
"""A row that keeps less than this of its exponentials is computed whole."""


def headed(x: Tensor, heads: int) -> Tensor:
    """(..., L, H * D) -> (..., H, L, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


@kernel("attention reference")
def attention_reference(
    out: None, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *,
    heads: int, scale: float, causal: bool,
) -> Held:  # fmt: skip
    """What all chunks read of the reference."""
    q, k, v = (headed(x, heads).contiguous() for x in (query, key, value))
    q = q * scale
    step, sums = max(1, MOST_LOGITS // (q.shape[0] * heads * k.shape[2])), []
    for first in range(0, q.shape[2], step):
        rows = torch.arange(first, min(first + step, q.shape[2]), device=q.device)
        logits = q[:, :, rows].double() @ k.double().transpose(2, 3)
        sums.append(biased(logits, bias, rows, causal).logsumexp(3))
    return q, k, v, torch.cat(sums, 2).unsqueeze(2)


def biased(logits: Tensor, bias: Tensor | None, rows: Tensor, causal: bool) -> Tensor:
    """Logits (..., H, R, T) of the queries at `rows` with all that is added to them."""
    if bias is not None:
        logits = logits + (bias if bias.shape[-2] == 1 else bias[..., rows, :])
    if causal:
        after = torch.arange(logits.shape[-1], device=rows.device) > rows[:, None]
        logits = logits.masked_fill(after, float("-inf"))
    return logits


@kernel("attention")
def attention(
    out: Tensor, held: Held, before: Tensor, keys: Tensor, values: Tensor,
    bias: Tensor | None = None, *, at: Tensor, unique: Tensor, inverse: Tensor, outside: Tensor,
    part: slice, heads: int, causal: bool,
) -> None:  # fmt: skip
    """What changes of a part of the queries, (P * K * B, S, C), by changed keys and values alone.

    Parameters
    ----------
    before : Tensor (B, S, C)
        The reference's sums.
    keys, values : Tensor (w, P, K, B, C)
        What changes of them.
    at : int64 Tensor (w, P)
        Positions of the rows, those outside the tensor clipped.
    unique, inverse : int64 Tensor (m,), (w * P,)
        Each of these once, and which of them every row is.
    outside : int64 Tensor (n,)
        Which of them lie outside.
    """
    (q, k, v, total), before = held, before[:, part]
    q, total = q[:, :, part], total[..., part]
    (w, p, n), b, size = keys.shape[:3], len(q), q.shape[2]
    flat = at.reshape(-1)
    # Keys of windows: (B, H, w, P, K, D), and for each the queries: (B, H, w, P, K, S).
    dk = headed_rows(keys, heads)
    change = (dk.flatten(2, 4) @ q.transpose(2, 3)).view(b, heads, w, p, n, size)
    given = k[:, :, unique].double() @ q.double().transpose(2, 3)
    if bias is not None:
        columns = bias if bias.shape[-1] == 1 else bias[..., unique]
        columns = columns if bias.shape[-2] == 1 else columns[..., part, :]
        given = given + columns.transpose(-1, -2)
    if causal:
        queries = torch.arange(part.start, part.stop, device=flat.device)
        given = given.masked_fill(unique[:, None] > queries, float("-inf"))
    old = (given - total).to(q.dtype)[:, :, inverse]
    if len(outside):
        old.index_fill_(2, outside, float("-inf"))
    old = old.view(b, heads, w, p, 1, size)
    new = old + change
    top = new.amax(2, True).clamp_(min=0)
    new.sub_(top).exp_()
    share = (old - top).exp_()
    less = torch.where(change < 1, share * change.clamp(max=1).expm1_(), new - share)
    moved = less.sum(2, True)
    kept = top.neg_().exp_().add_(moved)
    factors = torch.cat([less, new], 2).div_(kept).permute(3, 4, 0, 1, 5, 2)
    dv = headed_rows(values, heads)
    around = v[:, :, flat].view(b, heads, w, p, 1, -1).expand_as(dv)
    sources = torch.cat([around, dv], 2).permute(3, 4, 0, 1, 2, 5)
    made = (factors @ sources).transpose(3, 4)  # (P, K, B, S, H, E)
    moved = moved.div_(kept).squeeze(2).permute(2, 3, 0, 4, 1).unsqueeze(-1)
    result = out.view(made.shape)
    torch.addcmul(made, before.unflatten(2, (heads, -1)), moved, value=-1, out=result)
    lost = (kept < LEAST_KEPT).squeeze(2)
    if (doubt := DOUBT.get()) is not None:
        doubt.logical_or_(lost.any())
    elif bool(lost.any()):
        whole_rows(result, (q, k, v, total), before, dk, dv, bias, at, lost, part.start, causal)


def headed_rows(x: Tensor, heads: int) -> Tensor:
    """(w, P, K, B, C) -> (B, H, w, P, K, D)."""
    return x.unflatten(-1, (heads, -1)).permute(3, 4, 0, 1, 2, 5).contiguous()


def whole_rows(
    result: Tensor, held: Held, before: Tensor, dk: Tensor, dv: Tensor, bias: Tensor | None,
    at: Tensor, lost: Tensor, first: int, causal: bool,
) -> None:  # fmt: skip
    """Unchanged queries whose softmax is made anew: `lost` (B, H, P, K, S), from row `first` on."""
    q, k, v, _ = held
    for b, h in lost.flatten(2).any(2).nonzero().tolist():
        of_head = None if bias is None else bias if bias.dim() < 3 else bias[h % len(bias)]
        for part in lost[b, h].nonzero().split(max(1, MOST_LOGITS // k.shape[2])):
            i, j, row = part.unbind(1)
            query = q[b, h, row]
            logits = biased(query @ k[b, h].t(), of_head, row + first, causal)
            change = torch.einsum("rd,wrd->rw", query, dk[b, h][:, i, j])
            places = at[:, i].t()
            # Rows outside the tensor were clipped; what changes there is zero.
            shares = logits.scatter_add(1, places, change).softmax(1)
            made = shares @ v[b, h]
            made += torch.einsum("rw,wre->re", shares.gather(1, places), dv[b, h][:, i, j])
            own = before[b, row].unflatten(1, (result.shape[4], -1))[:, h]
            result[i, j, b, row, h] = made - own


@kernel("attention of changed queries")
def changed_queries(
    out: Tensor, held: Held, before: Tensor, sofar: Tensor, queries: Tensor, keys: Tensor,
    values: Tensor, bias: Tensor | None = None, *, at: Tensor, rows: Tensor, inside: Tensor,
    part: slice, heads: int, scale: float, causal: bool,
) -> None:  # fmt: skip
    """The same, with the rows of queries that change themselves.

    Parameters
    ----------
    sofar : Tensor (P * K * B, S, C)
        Of unchanged queries.
    queries : Tensor (u, P, K, B, C)
        Values.
    at, rows : int64 Tensor (w, P), (u, P)
        Positions of the keys' rows and of the queries', those outside clipped.
    inside : int64 Tensor (n,)
        Which rows of queries lie in the part.
    """
    _, k, v, _ = held
    (u, p, n), b, size = queries.shape[:3], len(k), k.shape[2]
    q = headed_rows(queries, heads) * scale
    dk, dv = headed_rows(keys, heads), headed_rows(values, heads)
    logits = (q.flatten(2, 4) @ k.transpose(2, 3)).view(b, heads, u, p, n, size)
    change = torch.einsum("bhupnd,bhwpnd->bhupnw", q, dk)
    places = at.t()[:, None, :].expand(b, heads, u, p, n, len(at))
    logits.scatter_add_(5, places, change)
    if bias is not None or causal:
        flat = logits.transpose(2, 4).reshape(b, heads, n, p * u, size).transpose(1, 2)
        flat = biased(flat, bias, rows.t().reshape(-1), causal)
        logits = flat.transpose(1, 2).unflatten(3, (p, u)).transpose(2, 4)
    shares = logits.softmax(5)
    made = (shares.reshape(b, heads, -1, size) @ v).view(*shares.shape[:5], -1)
    made = made + torch.einsum("bhupnw,bhwpne->bhupne", shares.gather(5, places), dv)
    made = made.permute(2, 3, 4, 0, 1, 5).flatten(4)  # (u, P, K, B, C)
    if out.data_ptr() != sofar.data_ptr():
        out.copy_(sofar)
    result, width = out.view(p, n, b, *out.shape[1:]), made.shape[4]
    i, j = inside % p, rows.reshape(-1)[inside]
    made = made.flatten(0, 1)[inside].view(-1, n, b, width)
    result[i, :, :, j - part.start] = made - before[:, j].transpose(0, 1).unsqueeze(1)


@kernel("window of whole")
def window_of_whole(out: Tensor, made: Tensor) -> None:
    """Whole tensors (P * K * B, w, C) as rows of windows (w, P, K, B, C)."""
    out.flatten(1, 3).copy_(made.transpose(0, 1))


@kernel("attention onwards")
def attention_onwards(
    out: Tensor, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None = None, *,
    first: int, heads: int, scale: float,
) -> None:  # fmt: skip
    """Sums for queries (w, P, K, B, C) at the positions from `first` on, which read none behind.

    `keys` and `values` are whole, (P * K * B, T, C); all are values.
    """
    at = torch.arange(keys.shape[1], device=keys.device)
    rows = at[first : first + len(queries)]
    mask = keys.new_zeros((len(rows), len(at)))
    mask = biased(mask, bias, rows, True)
    made = ops.attention(queries.flatten(1, 3).transpose(0, 1), keys, values, heads, scale, mask)
    out.flatten(1, 3).copy_(made.transpose(0, 1))
