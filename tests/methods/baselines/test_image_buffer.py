"""What critics of CycleGAN are shown: half of it new, half of it old, each old image replaced."""

import pytest
import torch

from chiasm.methods.baselines.cyclegan.image_buffer import ImageBuffer


def image(value):
    return torch.full((1, 1, 2, 2), float(value))


def shown(buffer, draws, seed=0):
    """The number of each image that is shown when image k is drawn at draw k."""
    generator = torch.Generator().manual_seed(seed)
    values = []
    for number in range(draws):
        values.append(int(buffer.draw(image(number), generator)[0, 0, 0, 0]))
        buffer.commit()
    return torch.tensor(values)


def test_while_there_is_room_every_image_is_shown_and_kept():
    buffer = ImageBuffer(4)
    assert shown(buffer, 4).tolist() == [0, 1, 2, 3]
    assert [int(one.mean()) for one in buffer.images] == [0, 1, 2, 3]


def test_a_full_pool_shows_as_many_old_images_as_new_ones():
    values = shown(ImageBuffer(5), 4005)[5:]
    age = torch.arange(5, 4005) - values
    own = (age == 0).double().mean()
    assert own == pytest.approx(0.5, abs=0.03)  # 4 standard deviations
    # A place is replaced by 1 draw of 10, so that its image is 10 draws old on average.
    assert age[age > 0].double().mean() == pytest.approx(10, abs=1)
    old = values[age > 0]
    assert len(old.unique()) == len(old)  # an old image is shown once, as it leaves


def test_a_draw_that_is_not_committed_leaves_no_trace():
    buffer, other = ImageBuffer(2), ImageBuffer(2)
    for one in (buffer, other):
        shown(one, 6)
    for seed in range(4):
        buffer.draw(torch.cat([image(50), image(51)]), torch.Generator().manual_seed(seed))
    again = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    batch = torch.cat([image(60), image(61)])
    torch.testing.assert_close(buffer.draw(batch, again[0]), other.draw(batch, again[1]))


def test_a_pool_is_saved_with_its_module():
    buffer, other = ImageBuffer(3), ImageBuffer(3)
    other.load_state_dict(buffer.state_dict())
    assert other.images == []
    shown(buffer, 7)
    other.load_state_dict(buffer.state_dict())
    other.commit()
    torch.testing.assert_close(torch.stack(other.images), torch.stack(buffer.images))


def test_images_are_kept_without_their_graph():
    buffer = ImageBuffer(1)
    assert not buffer.draw(image(1).requires_grad_(), torch.Generator()).requires_grad
