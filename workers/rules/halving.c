#include "rules/halving.h"

static void push(struct halving *halving, struct part part)
{
    if (part.count > 1 && halving->failed_count < HALVING_DEPTH) {
        halving->failed[halving->failed_count++] = part;
    }
}

void halving_start(struct halving *halving, size_t count)
{
    *halving = (struct halving){.step = HALVING_SPLIT};
    push(halving, (struct part){0, count});
}

static bool split(struct halving *halving)
{
    if (halving->failed_count == 0) {
        return false;
    }
    const struct part part = halving->failed[--halving->failed_count];
    const size_t half = part.count / 2;
    halving->left = (struct part){part.from, half};
    halving->right = (struct part){part.from + half, part.count - half};
    halving->step = HALVING_LEFT;
    return true;
}

bool halving_next(struct halving *halving, struct part *part)
{
    if (halving->step == HALVING_SPLIT && !split(halving)) {
        return false;
    }
    *part = halving->step == HALVING_LEFT ? halving->left : halving->right;
    return true;
}

void halving_tell(struct halving *halving, bool passed)
{
    halving->sent++;
    if (halving->step == HALVING_LEFT && !passed) {
        halving->step = HALVING_RIGHT;
        return;
    }
    if (halving->step == HALVING_LEFT && halving->right.count == 1) {
        halving->step = HALVING_LAST; /* it must be what failed, but is judged only alone */
        return;
    }
    if (halving->step == HALVING_LEFT) {
        push(halving, halving->right);
    } else if (halving->step == HALVING_RIGHT) {
        if (!passed) {
            push(halving, halving->right);
        }
        push(halving, halving->left);
    }
    halving->step = HALVING_SPLIT;
}

size_t halving_patience(size_t count)
{
    size_t patience = 2;

    for (size_t n = 1; n < count; n *= 2) {
        patience += 2;
    }
    return patience;
}
